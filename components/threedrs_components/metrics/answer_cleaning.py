"""The answer cleaner that SQA3D, LEO, Chat-Scene and 3DRS share, quirks included."""

from __future__ import annotations

import re

_WORDS = {
    "letf": "left",
    "let": "left",
    "tehre": "there",
    "rigth": "right",
    "rght": "right",
    "behine": "behind",
    "tv": "TV",
    "chai": "chair",
    "wasing": "washing",
    "waslked": "walked",
    "oclock": "o'clock",
    "none": "zero",
    "0": "zero",
    "1": "one",
    "2": "two",
    "3": "three",
    "4": "four",
    "5": "five",
    "6": "six",
    "7": "seven",
    "8": "eight",
    "9": "nine",
    "10": "ten",
    "11": "eleven",
    "12": "twelve",
    "13": "thirteen",
    "14": "fourteen",
    "15": "fifteen",
    "16": "sixteen",
    "17": "seventeen",
    "18": "eighteen",
    "19": "nineteen",
    "20": "twenty",
    "23": "twenty-three",
}
_WHOLE_WORD = re.compile(rf"\b(?:{'|'.join(_WORDS)})\b")
_OUTER_SPACES = re.compile(r"^ +| +$")
"""The end is also before a last line break."""
_UNWANTED = re.compile(r"[^a-zA-Z0-9,'\s\-:]+")
_CLOCK = re.compile(r"\bo' +clock\b")
_GLUED_DIGIT = re.compile(r"\b([a-zA-Z]+)[0-9]\b")
_ARTICLES = tuple(re.compile(rf"\b{article}\b ([a-zA-Z]+)") for article in ("a", "an", "the"))
_BACKWARDS = re.compile(r"\bbackwards\b")


def clean_answer(text: str) -> str:
    """An answer as the evaluators compare it.

    Only spaces are trimmed and squeezed: tabs and line ends stay. Each article is removed in one
    pass, so of two in a row the second stays, and cleaning twice can differ from cleaning once.
    """
    text = re.sub(r" {2,}", " ", _OUTER_SPACES.sub("", text.lower()))
    text = _UNWANTED.sub("", text)
    text = _WHOLE_WORD.sub(lambda found: _WORDS[found[0]], text)
    text = _CLOCK.sub("o'clock", text)
    text = _GLUED_DIGIT.sub(r"\1", text)
    for article in _ARTICLES:
        text = article.sub(r"\1", text)
    return _BACKWARDS.sub("backward", text)
