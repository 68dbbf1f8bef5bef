"""Micro-world captions, "a red lamp in the north east": which half of the sentence is right."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_CAPTION = re.compile(
    r"\s*an? (?P<colour_category>\w+ \w+) in the (?P<direction>(?:north|south) (?:east|west))[ .]*"
)
_PARTS = {
    "direction": re.compile(r"\b(?P<direction>(?:north|south) (?:east|west))\b"),
    "colour_category": re.compile(r"^\s*an? (?P<colour_category>\w+ \w+)\b"),
}


@dataclass(frozen=True)
class PartScores:
    """Per caption [N]: whether the part is right, and what guessing it would give."""

    values: NDArray[np.float64]
    chance: NDArray[np.float64]
    majority: NDArray[np.float64]


def is_micro(references: Sequence[Sequence[str]]) -> bool:
    """Whether every reference has the shape of a micro-world caption."""
    texts = [text.lower() for texts in references for text in texts]
    return bool(texts) and all(_CAPTION.fullmatch(text) for text in texts)


def part_scores(
    part: str,
    texts: Sequence[str],
    references: Sequence[Sequence[str]],
    answerable: Sequence[bool],
) -> PartScores:
    """Score one part ("direction" or "colour_category") of each caption.

    Chance and majority are over the values the references of this set have, 0 where a caption
    may not be answered.
    """
    wanted = [{_part(part, text) for text in group} for group in references]
    given = [_part(part, text) for text in texts]
    counts = Counter(value for values in wanted for value in values)
    top = min(counts, key=lambda value: (-counts[value], value or ""))
    may = np.asarray(answerable, dtype=np.float64)
    return PartScores(
        values=np.array([value in options for value, options in zip(given, wanted, strict=True)])
        * 1.0,
        chance=may * [len(options) / len(counts) for options in wanted],
        majority=may * [float(top in options) for options in wanted],
    )


def _part(part: str, text: str) -> str | None:
    found = _PARTS[part].search(text.lower())
    return found[part] if found else None
