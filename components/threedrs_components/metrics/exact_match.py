"""Exact match of answers, and the two refined versions that let one text contain the other."""

from __future__ import annotations

from collections.abc import Sequence


def exact_match(answer: str | None, references: Sequence[str]) -> float:
    """1 if the answer is, character for character, one of the references; a missing one is 0."""
    return float(answer is not None and answer in references)


def _contain_each_other(first: str, second: str) -> bool:
    packed, other = "".join(first.split()), "".join(second.split())
    return packed in other or other in packed


def leo_match(answer: str, references: Sequence[str]) -> tuple[float, float]:
    """Exact and refined match as LEO counts them.

    The references are walked in order up to the first that decides: equality gives both, being
    contained (white space aside) only the refined one. The empty answer is contained in every text.
    """
    for reference in references:
        if answer == reference:
            return 1.0, 1.0
        if _contain_each_other(answer, reference):
            return 0.0, 1.0
    return 0.0, 0.0


def chat_scene_match(answer: str, references: Sequence[str]) -> tuple[float, float]:
    """Exact and refined match as Chat-Scene counts them: equality with any reference goes first.

    The empty answer matches nothing.
    """
    if not answer:
        return 0.0, 0.0
    if answer in references:
        return 1.0, 1.0
    return 0.0, float(any(_contain_each_other(answer, reference) for reference in references))


def chat_scene_answer(text: str) -> str:
    """An answer as Chat-Scene reads it: without final dot, first letter lower-cased."""
    text = text[:-1] if text.endswith(".") else text
    return text[0].lower() + text[1:] if len(text) > 1 else text


def exact_and_refined(matches: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    """Exact and refined matches [N] each, from pairs of both per item."""
    return [exact for exact, _ in matches], [refined for _, refined in matches]
