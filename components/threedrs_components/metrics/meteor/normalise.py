"""English text to METEOR tokens: punctuation apart, quotes and dashes unified, dots decided."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

_LETTER = "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u017e\u0400-\u0527\u1d00-\u1d7f"
"""What METEOR 1.5 takes for a letter: Latin, Cyrillic and phonetic; all else is punctuation."""
_SPECIAL = re.compile(rf"([^{_LETTER}0-9 .'`,\u2019-])")
_DOT_RUN = re.compile(r"\.{2,}")
_DOT_MARK = "DOTMULTI"
_LONELY_COMMAS = [
    re.compile(pattern)
    for pattern in (r"([^0-9]),([^0-9])", r"([0-9]),([^0-9])", r"([^0-9]),([0-9])")
]
_HYPHEN = re.compile(rf"([{_LETTER}0-9.])-([{_LETTER}0-9])")
_APOSTROPHES = [
    (re.compile(pattern), spaced)
    for pattern, spaced in (
        (rf"([^{_LETTER}])'([^{_LETTER}])", r"\1 ' \2"),
        (rf"([^{_LETTER}0-9])'([{_LETTER}])", r"\1 ' \2"),
        (rf"([{_LETTER}])'([^{_LETTER}])", r"\1 ' \2"),
        (rf"([{_LETTER}])'([{_LETTER}])", r"\1 '\2"),
        (r"([0-9])'s", r"\1 's"),
    )
]
"""Applied in order. A match uses up its neighbours, so of "it's's" only the first is split."""
_WORD = re.compile(r"[^ \t\n\f\r\u00a0\u2000-\u200a\u202f\u205f\u3000]+")
"""Fewer characters are white space than in Python: a line separator is a token."""
_PLAIN = re.compile("[a-z0-9 ]*")
"""Of such a text nothing is to be changed; most captions are such once they are tokenised."""
_HAS_LETTER = re.compile(f"[{_LETTER}]")
_LOWER = re.compile(r"[a-z\u00df-\u00f6\u00f8-\u00ff]")


@dataclass(frozen=True)
class DotRules:
    """Words after which a dot does not end a sentence."""

    always: Collection[str]
    before_numbers: Collection[str]


def _set_apart(text: str) -> str:
    return _SPECIAL.sub(r" \1 ", text)


def _mark_dot_runs(text: str) -> str:
    return _DOT_RUN.sub(lambda run: f" {_DOT_MARK}{len(run[0])} ", text)


def _unify(text: str) -> str:
    for comma in _LONELY_COMMAS:
        text = comma.sub(r"\1 , \2", text)
    for quote in ("\u2018", "\u2019", "`"):
        text = text.replace(quote, "'")
    text = text.replace("''", ' " ').replace("\u201c", '"').replace("\u201d", '"')
    text = text.replace("\u2013", "-").replace("--", "-")
    return _HYPHEN.sub(r"\1 \2", text)


def _split_apostrophes(text: str) -> str:
    for apostrophe, spaced in _APOSTROPHES:
        text = apostrophe.sub(spaced, text)
    return text


def _decide_dots(words: list[str], rules: DotRules) -> list[str]:
    decided: list[str] = []
    for index, word in enumerate(words):
        following = words[index + 1] if index + 1 < len(words) else ""
        decided += _decide_dot(word, following, rules)
    return decided


def _decide_dot(word: str, following: str, rules: DotRules) -> list[str]:
    if len(word) < 2 or not word.endswith("."):
        return [word]
    stem = word[:-1]
    if "." in stem and _HAS_LETTER.search(stem):
        return [word.replace(".", "")]
    if stem in rules.always or _LOWER.match(following):
        return [word]
    if stem in rules.before_numbers and following[:1].isdigit():
        return [word]
    return [stem, "."]


def normalise(text: str, rules: DotRules) -> list[str]:
    """The lower-case tokens METEOR 1.5 compares, as its `-norm -l en` makes them."""
    if _PLAIN.fullmatch(text):
        return text.split()
    text = _split_apostrophes(_unify(_mark_dot_runs(_set_apart(f" {text} "))))
    words = _WORD.findall(text)
    if "." in text:
        words = _decide_dots(words, rules)
    return [
        "." * int(word.removeprefix(_DOT_MARK)) if word.startswith(_DOT_MARK) else word.lower()
        for word in words
    ]
