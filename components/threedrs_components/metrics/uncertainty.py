"""How far a number could be off: bootstrap intervals and the spread over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 1000
LEVEL = 0.95

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of the same measurement over seeds."""

    mean: float
    sd: float | None
    """None for a single seed: nothing is known about its spread."""
    n: int


def spread(values: Sequence[float]) -> Spread:
    """Mean ± sd (n - 1 degrees of freedom).

    Raises:
        ValueError: there is nothing to average.
    """
    if not values:
        raise ValueError("a spread needs at least one value")
    array = np.asarray(values, dtype=np.float64)
    sd = float(array.std(ddof=1)) if array.size > 1 else None
    return Spread(mean=float(array.mean()), sd=sd, n=array.size)


def _limits(means: Float64, level: float) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_mean(
    values: ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> tuple[float, float] | None:
    """Percentile interval of the mean of per-item values [N]; None without items.

    Drawing N items with replacement is drawing how often each distinct value occurs, which is one
    multinomial draw: the same distribution, and for hits and misses the cost is independent of N.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        return None
    distinct, counts = np.unique(array, return_counts=True)
    generator = np.random.default_rng(seed)
    draws = generator.multinomial(array.size, counts / array.size, size=resamples)
    return _limits(draws @ distinct / array.size, level)


def resampled_sums(statistics: ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES) -> Float64:
    """Sums [R, S] of counts per item [N, S] over resampled sets of N items."""
    array = np.asarray(statistics, dtype=np.float64)
    items = array.shape[0]
    generator = np.random.default_rng(seed)
    sums = np.empty((resamples, array.shape[1]))
    for row in range(resamples):
        counts = np.bincount(generator.integers(items, size=items), minlength=items)
        sums[row] = counts @ array
    return sums


def percentile_interval(scores: ArrayLike, level: float = LEVEL) -> tuple[float, float]:
    """The middle part of resampled scores [R] that holds `level` of them."""
    return _limits(np.asarray(scores, dtype=np.float64), level)
