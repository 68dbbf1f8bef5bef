"""A difference with both of its sources of chance, seeds and scenes, in one interval and one test.

Every seed trains both arms, every scene is seen by all of them: a two-way layout without repetition
whose rows and columns are both drawn at random. The variance of its mean is
(MSA + MSB - MSE) / (k C) of the usual mean squares (Cornfield and Tukey 1956).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from threedrs_components.metrics.student_t import half_width

Float64 = NDArray[np.float64]

LEVEL = 0.95
LEAST_SEEDS = 3
"""No test with fewer: one degree of freedom shows nothing but by luck."""
HOWE = 1 / 3
"""Share of Howe's limit in the interval, the rest is Satterthwaite's. The first is too wide at two
or three seeds, the second too narrow where seeds vary more than scenes; `tests/bench/coverage.py`
draws both against known truth."""
LEVELS = np.geomspace(1.0, 1e-12, 61)
"""Levels between which p values are interpolated."""
PER_OCTAVE = 8
"""Degrees of freedom are rounded down to so many values per factor of two: limits are cached."""


@dataclass(frozen=True)
class CrossedComparison:
    """The mean difference of two arms over seeds and scenes."""

    difference: float
    seeds: int
    scenes: int
    """0: it is not known scene by scene, so only the spread over seeds is in the interval."""
    interval: tuple[float, float] | None
    """95 %, from all the chance there is; None where nothing tells how large that is."""
    p: float | None
    """Two-sided, by Howe's limits, which err to the safe side; None below three seeds."""


@dataclass(frozen=True)
class _Source:
    """A mean square with its degrees of freedom, as a share of the variance of the mean."""

    variance: float
    degrees: int


def compare_crossed(gaps: Float64, least_error: float = 0.0) -> CrossedComparison:
    """Compare two arms by their differences per seed and scene.

    With one seed the interval holds for the trained models at hand; with one column, for the
    measured scenes at hand.

    Args:
        gaps: [k, C] float64 difference of k seeds in C scenes, such that its mean is the difference
            of the metric; or [k, 1], the differences of the metric itself.
        least_error: standard error below which nothing can be known: what a single sample counts.

    Raises:
        ValueError: there is no difference at all.
    """
    if gaps.ndim != 2 or not gaps.size:
        raise ValueError(f"differences [seeds, scenes] are needed, not {list(gaps.shape)}")
    seeds, columns = gaps.shape
    mean = float(gaps.mean())
    added, doubled = _sources(gaps, mean)
    scenes = columns if columns > 1 else 0
    interval = p = None
    if added and (least_error or any(each.variance for each in added)):
        half = max(_half_width(added, doubled), half_width(LEVEL, math.inf) * least_error)
        interval = (mean - half, mean + half)
        p = _p_value(mean, added, doubled, least_error) if seeds >= LEAST_SEEDS else None
    return CrossedComparison(mean, seeds, scenes, interval, p)


def _sources(gaps: Float64, mean: float) -> tuple[list[_Source], _Source | None]:
    """Sources of chance that add up, and what both of them count."""
    seeds, columns = gaps.shape
    of_seeds, of_scenes = gaps.mean(1), gaps.mean(0)
    added = []
    if seeds > 1:
        added.append(_Source(float(of_seeds.var(ddof=1)) / seeds, seeds - 1))
    if columns > 1:
        added.append(_Source(float(of_scenes.var(ddof=1)) / columns, columns - 1))
    if len(added) < 2:
        return added, None
    rest = gaps - of_seeds[:, None] - of_scenes[None] + mean
    degrees = (seeds - 1) * (columns - 1)
    return added, _Source(float((rest**2).sum()) / degrees / gaps.size, degrees)


def _half_width(added: Sequence[_Source], doubled: _Source | None) -> float:
    """Of the interval: Satterthwaite's and Howe's limits weighed."""
    terms = [*added, *([doubled] if doubled else [])]
    whole = _whole(added, doubled, [1.0] * len(terms))
    if not whole:
        return 0.0
    satterthwaite = whole**2 / sum(each.variance**2 / each.degrees for each in terms)
    narrow = half_width(LEVEL, _coarse(satterthwaite)) * math.sqrt(whole)
    squares = [half_width(LEVEL, each.degrees) ** 2 for each in terms]
    wide = math.sqrt(_whole(added, doubled, squares))
    return (1 - HOWE) * narrow + HOWE * wide


def _whole(added: Sequence[_Source], doubled: _Source | None, factors: Sequence[float]) -> float:
    """Sum of the sources less what is counted twice, but no less than any of them alone."""
    weighed = [each.variance * factor for each, factor in zip(added, factors, strict=False)]
    twice = doubled.variance * factors[-1] if doubled else 0.0
    return max(sum(weighed) - twice, *weighed, 0.0)


def _p_value(
    mean: float, added: Sequence[_Source], doubled: _Source | None, least_error: float
) -> float:
    """The level at which Howe's limits just reach zero."""
    shares = np.array([each.variance * _squares(each.degrees) for each in added])
    twice = doubled.variance * _squares(doubled.degrees) if doubled else 0.0
    least = least_error**2 * _squares(math.inf)
    limits = np.maximum(np.maximum(shares.sum(0) - twice, shares.max(0)), least)
    limits = np.maximum.accumulate(limits)
    return float(np.exp(np.interp(mean**2, limits, np.log(LEVELS))))


@lru_cache(maxsize=64)
def _squares(degrees: float) -> Float64:
    """Squared half widths of Student's t at all levels."""
    return np.array([half_width(1 - level, degrees) ** 2 for level in LEVELS])


def _coarse(degrees: float) -> float:
    """Degrees of freedom rounded down to a value that others share; at least one."""
    steps = math.floor(math.log2(max(degrees, 1.0)) * PER_OCTAVE)
    return float(2 ** (steps / PER_OCTAVE))
