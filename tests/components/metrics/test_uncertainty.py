"""Bootstrap intervals and the spread over seeds."""

import numpy as np
import pytest

from threedrs_components.metrics.uncertainty import (
    bootstrap_mean,
    percentile_interval,
    resampled_sums,
    spread,
)


def test_spread_over_seeds_uses_one_degree_of_freedom_less() -> None:
    # Mean 2, deviations -1, 0, 1: variance 2 / 2.
    result = spread([1.0, 2.0, 3.0])
    assert (result.mean, result.sd, result.n) == (2.0, 1.0, 3)


def test_one_seed_has_no_spread() -> None:
    assert spread([4.0]).sd is None


def test_an_empty_spread_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        spread([])


def test_interval_of_hits_and_misses_is_the_binomial_one() -> None:
    # 1,000 items, half hit: standard error sqrt(.25 / 1000) = 0.0158, so 0.5 -+ 0.031.
    interval = bootstrap_mean([0.0] * 500 + [1.0] * 500)
    assert interval is not None
    assert interval[0] == pytest.approx(0.469, abs=0.004)
    assert interval[1] == pytest.approx(0.531, abs=0.004)


def test_interval_agrees_with_drawing_items() -> None:
    values = np.random.default_rng(1).normal(size=80)
    generator = np.random.default_rng(2)
    means = values[generator.integers(80, size=(4000, 80))].mean(axis=1)
    interval = bootstrap_mean(values, resamples=4000)
    assert interval == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.02)


def test_same_seed_same_interval() -> None:
    values = np.random.default_rng(0).random(50)
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3)
    assert bootstrap_mean(values, seed=3) != bootstrap_mean(values, seed=4)


def test_no_items_no_interval() -> None:
    assert bootstrap_mean([]) is None


def test_interval_of_resampled_sums_is_the_interval_of_the_mean() -> None:
    values = np.random.default_rng(1).random(200)
    sums = resampled_sums(np.stack([values, np.ones(200)], axis=1), resamples=3000)
    interval = percentile_interval(sums[:, 0] / sums[:, 1])
    assert interval == pytest.approx(bootstrap_mean(values, resamples=3000), abs=0.005)
