"""What a guesser who knows only the question type would score."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from threedrs_platform.records import Sample


@dataclass(frozen=True)
class AnswerBaselines:
    """Exact match of blind answers, per sample [N]."""

    chance: NDArray[np.float64]
    """A uniform guess among the distinct first answers of the sample's type."""
    majority: NDArray[np.float64]
    """The most frequent answer of the sample's type."""


def answer_baselines(
    samples: Sequence[Sample], references: Sequence[Sequence[str]]
) -> AnswerBaselines:
    """Baselines from the reference answers of the evaluated samples themselves."""
    by_type: dict[str, list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        by_type[sample.question_type].append(index)
    chance, majority = np.zeros(len(samples)), np.zeros(len(samples))
    for rows in by_type.values():
        first = Counter(references[row][0] for row in rows if references[row])
        counts = Counter(answer for row in rows for answer in set(references[row]))
        top = min(counts, key=lambda answer: (-counts[answer], answer), default=None)
        for row in rows:
            answers = set(references[row])
            chance[row] = len(answers & first.keys()) / len(first) if first else 0.0
            majority[row] = float(top in answers)
    return AnswerBaselines(chance, majority)
