"""How far a number could be off: bootstrap intervals and the spread over seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def bootstrap_corpus(
    statistics: ArrayLike,
    score: Callable[[Float64], Float64],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> tuple[float, float] | None:
    """Percentile interval of a score that is a function of counts summed over items.

    Args:
        statistics: [N, S] counts per item.
        score: sums [R, S] to scores [R].
    """
    array = np.asarray(statistics, dtype=np.float64)
    if array.shape[0] == 0:
        return None
    items = array.shape[0]
    generator = np.random.default_rng(seed)
    sums = np.empty((resamples, array.shape[1]))
    for row in range(resamples):
        counts = np.bincount(generator.integers(items, size=items), minlength=items)
        sums[row] = counts @ array
    return _limits(score(sums), level)
