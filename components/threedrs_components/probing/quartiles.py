"""Does a metric rise with the correspondence score? Quartile means, rank correlation, trend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from threedrs_components.metrics.rank_correlation import average_ranks, kendall, spearman

Float64 = NDArray[np.float64]

SIGNIFICANT = 0.05
SMALLEST_SAMPLE = 4


@dataclass(frozen=True)
class Quartiles:
    """A metric by quartile of a score, Q1 (lowest score) first."""

    means: tuple[float, ...]
    """Mean of the metric per quartile; NaN for a quartile that ties left empty."""
    counts: tuple[int, ...]
    mean_scores: tuple[float, ...]
    spearman: float
    """Rank correlation of score and metric with average ranks for ties; 0 if either is constant."""
    p_value: float
    """Two-sided, of spearman; 1 if either is constant."""
    trend: float
    """Kendall's tau-b between quartile and metric; its test is Jonckheere's, corrected for ties."""
    trend_p_value: float

    @property
    def verdict(self) -> Literal["rises", "falls", "no trend"]:
        """Direction of the trend if its p value is below .05."""
        if self.trend_p_value >= SIGNIFICANT:
            return "no trend"
        return "rises" if self.trend > 0 else "falls"


@dataclass(frozen=True)
class SampleQuartiles:
    """A metric by quartile of samples rather than scenes, Q1 (lowest score) first."""

    means: tuple[float, ...]
    """Mean over the quartile's samples; NaN for a quartile that ties left empty."""
    counts: tuple[int, ...]
    """Samples."""


def quartile_analysis(scores: Sequence[float], values: Sequence[float]) -> Quartiles:
    """Group units by score into quartiles and test whether the values follow.

    The tests take units as independent. Questions about one scene share its score, so give one
    mean value per scene, not one value per question.

    Args:
        scores: one per unit; equal scores fall into one quartile.
        values: one per unit.

    Raises:
        ValueError: fewer than four units, different lengths, or a number that is not finite.
    """
    score, value = np.asarray(scores, dtype=np.float64), np.asarray(values, dtype=np.float64)
    _check(score, value)
    quartile = quartiles_of(score)
    members = [quartile == number for number in range(4)]
    correlation, p_value = spearman(score, value)
    trend, trend_p_value = kendall(quartile, value)
    return Quartiles(
        means=tuple(_mean(value[member]) for member in members),
        counts=tuple(int(member.sum()) for member in members),
        mean_scores=tuple(_mean(score[member]) for member in members),
        spearman=correlation,
        p_value=p_value,
        trend=trend,
        trend_p_value=trend_p_value,
    )


def sample_quartiles(
    scores: Sequence[float], means: Sequence[float], counts: Sequence[int]
) -> SampleQuartiles:
    """Cut samples into quartiles by the score of their scene, as the paper's Figure 2.

    Samples of equal score, and so those of one scene, fall into one quartile. They are not
    independent, so nothing is tested.

    Args:
        scores: one per scene.
        means: of the metric over each scene's samples.
        counts: of each scene's samples, at least one.
    """
    score = np.repeat(np.asarray(scores, dtype=np.float64), counts)
    value = np.repeat(np.asarray(means, dtype=np.float64), counts)
    quartile = quartiles_of(score)
    members = [quartile == number for number in range(4)]
    return SampleQuartiles(
        means=tuple(_mean(value[member]) for member in members),
        counts=tuple(int(member.sum()) for member in members),
    )


def quartiles_of(scores: Float64) -> Float64:
    """0..3 for each unit, by its average rank."""
    return np.minimum(np.floor(4 * (average_ranks(scores) - 0.5) / len(scores)), 3.0)


def _mean(values: Float64) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _check(scores: Float64, values: Float64) -> None:
    if scores.shape != values.shape or scores.ndim != 1:
        raise ValueError(
            f"{len(scores)} scores for {len(values)} values; give one of each per unit"
        )
    if len(scores) < SMALLEST_SAMPLE:
        raise ValueError(f"quartiles need at least {SMALLEST_SAMPLE} units, got {len(scores)}")
    for name, numbers in (("score", scores), ("value", values)):
        bad = np.flatnonzero(~np.isfinite(numbers))
        if len(bad):
            raise ValueError(f"{name} of unit {bad[0]} is {numbers[bad[0]]}; leave such units out")
