"""Exact match of an answer with any of its references, raw as the model wrote it."""

from __future__ import annotations

from collections.abc import Sequence


def exact_match(answer: str | None, references: Sequence[str]) -> float:
    """1 if the answer is, character for character, one of the references; a missing one is 0."""
    return float(answer is not None and answer in references)
