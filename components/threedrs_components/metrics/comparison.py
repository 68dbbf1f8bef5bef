"""Whether two arms differ: paired tests over the same seeds or items, and their correction."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from threedrs_components.metrics.student_t import half_width, two_sided_p

ALPHA = 0.05
EXACT_PAIRS = 14
"""Up to this many pairs every one of the 2^n sign flips is counted; beyond, they are sampled."""
DRAWN_AT_ONCE = 1000
"""Patterns; another number would draw other ones."""
MOST_KEPT = 1 << 21
"""Signs that are kept for the next test, 16 MiB of them; four such tables stay."""


@dataclass(frozen=True)
class PairedComparison:
    """Difference (second minus first) of two arms measured on the same seeds or items."""

    n: int
    difference: float
    sd: float | None
    """Of the differences; None for one pair."""
    interval: tuple[float, float] | None
    """95 % interval of the mean difference by Student's t; None for one pair."""
    t: float | None
    p_t: float | None
    """Two-sided, n - 1 degrees of freedom."""
    p_permutation: float
    """Two-sided, by flipping the sign of each difference. Its smallest value is 2 / 2^n."""

    def verdict(self, p: float | None = None, alpha: float = ALPHA) -> str:
        """In words; pass a corrected p to judge by that instead of `p_t`."""
        chosen = self.p_t if p is None else p
        if chosen is None:
            return "one pair: no test possible"
        if chosen >= alpha:
            return "no significant difference"
        return "higher" if self.difference > 0 else "lower"


def compare_paired(
    first: Sequence[float], second: Sequence[float], *, seed: int = 0, resamples: int = 10_000
) -> PairedComparison:
    """Compare second with first, pair by pair.

    Raises:
        ValueError: the arms have no pairs, or not the same number of values.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"pairs are needed: {len(first)} values against {len(second)}")
    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    n, mean = differences.size, float(differences.mean())
    permuted = sign_flip_p(differences, seed=seed, resamples=resamples)
    if n == 1:
        return PairedComparison(1, mean, None, None, None, None, permuted)
    sd = float(differences.std(ddof=1))
    error = sd / n**0.5
    half = half_width(1 - ALPHA, n - 1) * error
    t = mean / error if error else float(np.sign(mean)) * float("inf") if mean else 0.0
    p = two_sided_p(t, n - 1)
    return PairedComparison(n, mean, sd, (mean - half, mean + half), float(t), p, permuted)


def sign_flip_p(
    differences: NDArray[np.float64], *, seed: int = 0, resamples: int = 10_000
) -> float:
    """Share of sign patterns whose mean is at least as far from 0 as the observed one.

    Far out, where samples of the patterns find none, Hoeffding's bound on that share is the answer.
    """
    n = differences.size
    observed = abs(differences.mean())
    tolerance = 1e-12 * max(1.0, float(np.abs(differences).max()))

    def reached(signs: NDArray[np.float64]) -> int:
        return int((np.abs(signs @ differences) / n >= observed - tolerance).sum())

    if n <= EXACT_PAIRS:
        return reached(_every_sign(n)) / float(2**n)
    small = n * resamples <= MOST_KEPT
    blocks: Iterable[NDArray[np.float64]] = (
        _kept_signs(n, seed, resamples) if small else _drawn_signs(n, seed, resamples)
    )
    count = sum(map(reached, blocks))
    squares = float((differences**2).sum())
    bound = 2 * math.exp(-((n * observed) ** 2) / (2 * squares)) if squares else 1.0
    return float(min((count + 1) / (resamples + 1), bound))


@lru_cache(maxsize=EXACT_PAIRS)
def _every_sign(n: int) -> NDArray[np.float64]:
    """All sign patterns [2^n, n]."""
    return np.array(list(product((1.0, -1.0), repeat=n)))


def _drawn_signs(n: int, seed: int, resamples: int) -> Iterator[NDArray[np.float64]]:
    """Sign patterns [resamples, n] in blocks."""
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, DRAWN_AT_ONCE):
        rows = min(DRAWN_AT_ONCE, resamples - start)
        signs = generator.integers(0, 2, size=(rows, n), dtype=np.int8)
        yield signs.astype(np.float64) * 2.0 - 1.0


@lru_cache(maxsize=4)
def _kept_signs(n: int, seed: int, resamples: int) -> tuple[NDArray[np.float64], ...]:
    """The same: every test of so many differences flips the same signs, and a run has hundreds."""
    return tuple(_drawn_signs(n, seed, resamples))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: adjusted p values in the given order."""
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
