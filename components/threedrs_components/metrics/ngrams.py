"""Counting n-grams of whitespace tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

LONGEST = 4
"""BLEU and CIDEr both count up to four tokens."""

Ngrams = Counter[tuple[str, ...]]


def ngrams(tokens: Sequence[str], longest: int = LONGEST) -> Ngrams:
    """How often each run of 1 to `longest` tokens occurs."""
    return Counter(
        tuple(tokens[start : start + length])
        for length in range(1, longest + 1)
        for start in range(len(tokens) - length + 1)
    )
