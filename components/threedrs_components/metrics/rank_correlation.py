"""Spearman's and Kendall's rank correlations with ties, and their two-sided tests."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from threedrs_components.metrics.student_t import two_sided_p

Float64 = NDArray[np.float64]

MOST_AT_ONCE = 1 << 18
"""Pairs of units whose order is compared in one array."""


def average_ranks(values: Float64) -> Float64:
    """Ranks from 1; equal values share the mean of their places."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Float64 = (last - (counts - 1) / 2)[inverse]
    return ranks


def spearman(first: Float64, second: Float64) -> tuple[float, float]:
    """Rank correlation and its p value by Student's t; 0 and 1 if either is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0, 1.0
    left, right = (ranks - ranks.mean() for ranks in map(average_ranks, (first, second)))
    r = float(left @ right / math.sqrt((left @ left) * (right @ right)))
    r, degrees = max(-1.0, min(1.0, r)), len(first) - 2
    if abs(r) == 1.0:
        return r, 0.0
    return r, two_sided_p(r * math.sqrt(degrees / (1 - r * r)), degrees)


def kendall(first: Float64, second: Float64) -> tuple[float, float]:
    """Tau-b and its p value by the normal approximation; 0 and 1 if either is constant."""
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0, 1.0
    n = len(first)
    # Each pair is seen twice, once with each sign of both differences.
    blocks = range(0, n, max(1, MOST_AT_ONCE // n))
    agreement = sum(_agreement(first, second, start, blocks.step) for start in blocks)
    score = agreement / 2
    pairs = n * (n - 1) / 2
    ties = [np.unique(values, return_counts=True)[1].astype(float) for values in (first, second)]
    tied = [float((count * (count - 1) / 2).sum()) for count in ties]
    tau = score / math.sqrt((pairs - tied[0]) * (pairs - tied[1]))
    return tau, math.erfc(abs(score) / math.sqrt(_kendall_variance(n, ties, tied)) / math.sqrt(2))


def _agreement(first: Float64, second: Float64, start: int, count: int) -> float:
    """Concordant less discordant pairs of some units with all: whole numbers, so exact."""
    signs = [
        np.sign(np.subtract.outer(values[start : start + count], values))
        for values in (first, second)
    ]
    return float(np.vdot(signs[0], signs[1]))


def _kendall_variance(n: int, ties: list[Float64], tied: list[float]) -> float:
    """Variance of concordant minus discordant pairs under independence, with ties on both sides."""
    ordered = n * (n - 1)
    variance = ordered * (2 * n + 5.0)
    cubic = []
    for count in ties:
        variance -= float((count * (count - 1) * (2 * count + 5)).sum())
        cubic.append(float((count * (count - 1) * (count - 2)).sum()))
    variance /= 18
    variance += 2 * tied[0] * tied[1] / ordered
    if n > 2:
        variance += cubic[0] * cubic[1] / (9.0 * ordered * (n - 2))
    return variance
