"""Intervals and tests over seeds and scenes, held against known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from threedrs_components.metrics.comparison import holm
from threedrs_components.metrics.crossed import compare_crossed
from threedrs_components.metrics.student_t import half_width

GENERATOR_SEED = 7


def drawn(
    generator: np.random.Generator, seeds: int, scenes: int, share: float, truth: float = 0.0
) -> np.ndarray:
    """Differences [seeds, scenes] whose mean varies by `share` with the seeds, else with scenes."""
    of_seeds = generator.normal(0, math.sqrt(share * seeds), (seeds, 1))
    of_scenes = generator.normal(0, math.sqrt((1 - share) * scenes), (1, scenes))
    rest = generator.normal(0, math.sqrt(0.3 * scenes), (seeds, scenes))
    return truth + of_seeds + of_scenes + rest


@pytest.mark.parametrize("seeds", [2, 3, 6])
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_intervals_hold_the_truth_as_often_as_they_say(seeds: int, share: float) -> None:
    generator = np.random.default_rng(GENERATOR_SEED)
    inside, runs = 0, 1000
    for _ in range(runs):
        found = compare_crossed(drawn(generator, seeds, 40, share, truth=3.0))
        assert found.interval is not None
        inside += found.interval[0] <= 3.0 <= found.interval[1]
    assert 0.93 <= inside / runs <= (0.99 if seeds == 2 else 0.975)


@pytest.mark.parametrize("seeds", [3, 6])
def test_families_of_tests_raise_few_false_alarms(seeds: int) -> None:
    """Eight metrics in which nothing differs: a star in at most one table of twenty."""
    generator = np.random.default_rng(GENERATOR_SEED)
    alarms, runs = 0, 300
    for _ in range(runs):
        p_values = [
            compare_crossed(drawn(generator, seeds, 40, share)).p
            for share in (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 0.9, 1.0)
        ]
        alarms += min(holm([p for p in p_values if p is not None])) < 0.05
    assert alarms / runs <= 0.05


def test_without_scenes_it_is_the_paired_t_test() -> None:
    values = np.array([1.0, 2.5, 0.7, 3.1, 1.9])
    found = compare_crossed(values[:, None])
    expected = stats.ttest_1samp(values, 0.0)
    assert found.p == pytest.approx(expected.pvalue, rel=0.02)
    assert found.interval == pytest.approx(expected.confidence_interval(0.95), rel=0.03)
    assert (found.seeds, found.scenes) == (5, 0)


def test_one_seed_has_an_interval_over_its_scenes_and_no_test() -> None:
    values = np.random.default_rng(0).normal(5, 20, 60)
    found = compare_crossed(values[None])
    half = half_width(0.95, 59) * values.std(ddof=1) / 60**0.5
    assert found.p is None and found.interval is not None
    assert found.interval[1] - found.difference == pytest.approx(half, rel=0.01)


def test_two_seeds_are_never_tested() -> None:
    gaps = np.full((2, 30), -0.7) + np.linspace(-1e-3, 1e-3, 30)
    assert compare_crossed(gaps).p is None


def test_no_spread_is_no_certainty() -> None:
    """What a single sample counts remains in doubt, however well seeds and scenes agree."""
    same = np.full((4, 20), 0.5)
    assert compare_crossed(same).interval is None and compare_crossed(same).p is None
    found = compare_crossed(same, least_error=1.0)
    assert found.interval == pytest.approx((0.5 - 1.96, 0.5 + 1.96), abs=1e-3)
    assert found.p == pytest.approx(2 * stats.norm.sf(0.5), rel=0.02)


def test_p_and_interval_agree_on_what_is_clear() -> None:
    clear = np.random.default_rng(1).normal(30, 5, (4, 50))
    found = compare_crossed(clear)
    assert found.p is not None and found.p < 1e-3
    assert found.interval is not None and found.interval[0] > 25


def test_nothing_to_compare_is_refused() -> None:
    with pytest.raises(ValueError, match="seeds, scenes"):
        compare_crossed(np.zeros((0, 3)))


def test_what_seeds_and_scenes_both_count_is_counted_once() -> None:
    """Pairs of seed and scene that vary alone: 600 values, and an interval of 600 values."""
    found = compare_crossed(np.random.default_rng(3).normal(0, 1, (20, 30)))
    assert found.interval is not None
    half = (found.interval[1] - found.interval[0]) / 2
    assert half == pytest.approx(half_width(0.95, 599) / 600**0.5, rel=0.2)
