"""Mean relative accuracy of a number, and how VSI-Bench finds numbers and letters in answers.

Yang et al., Thinking in Space, CVPR 2025.
"""

from __future__ import annotations

import math
import re

import numpy as np

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Confidence levels; a number passes one if its relative error is at most 1 - level."""


def mean_relative_accuracy(answer: float, truth: float) -> float:
    """Share of the ten levels at which the answer is near enough. A truth of 0 gives 0.

    Inclusive, as the code is; the paper writes "<". The reference fails on a truth of 0.
    """
    if not math.isfinite(answer) or truth == 0.0:
        return 0.0
    error = abs(answer - truth) / truth
    return float((error <= 1 - THRESHOLDS).mean())


def first_word(text: str) -> str:
    """The answer proper: what stands before the first space, without trailing dots."""
    return text.split(" ")[0].rstrip(".").strip()


def as_number(text: str) -> float:
    """The number a text is; NaN if it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


_UNITS = {
    word: number
    for number, word in enumerate(
        (
            *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
            *("ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"),
            *("seventeen", "eighteen", "nineteen"),
        )
    )
}
_TENS = {
    word: 10 * number
    for number, word in enumerate(
        ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"), start=2
    )
}
_SCALES = {"hundred": 100, "thousand": 1000}
_DIGITS = re.compile(r"-?\d+(?:\.\d+)?")
_WORD = re.compile(r"[A-Za-z]+")


def number_in_text(text: str) -> float:
    """The first number in a text, in digits or in English words; NaN if there is none.

    Whichever begins first counts, and a run of number words is read as one number.
    """
    digits = _DIGITS.search(text)
    # Words behind the digits come too late, and digits end a run of words.
    words = _first_run(text[: digits.start()] if digits else text)
    if words:
        return _words_to_number(words)
    return float(digits[0]) if digits else math.nan


def _first_run(text: str) -> list[str]:
    run: list[str] = []
    for word in _WORD.findall(text):
        small = word.lower()
        if small in _UNITS or small in _TENS or (run and small in _SCALES):
            run.append(small)
        elif small in _SCALES:
            run += ["one", small]
        elif run and small != "and":
            break
    return run


def _words_to_number(words: list[str]) -> float:
    total = current = 0
    for word in words:
        if word == "hundred":
            current = max(current, 1) * 100
        elif word == "thousand":
            total, current = total + max(current, 1) * 1000, 0
        else:
            current += _UNITS.get(word, _TENS.get(word, 0))
    return float(total + current)
