"""Student's t and rank correlations against scipy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from threedrs_components.metrics.rank_correlation import average_ranks, kendall, spearman
from threedrs_components.metrics.student_t import half_width, incomplete_beta, two_sided_p


@pytest.mark.parametrize("degrees", [1, 2, 3, 5, 10, 58, 148, 5000])
@pytest.mark.parametrize("t", [0.0, 1e-3, 0.7, -2.0, 4.5, 12.7, 40.0])
def test_p_values_are_scipys(t: float, degrees: int) -> None:
    assert two_sided_p(t, degrees) == pytest.approx(2 * stats.t.sf(abs(t), degrees), rel=1e-9)


@pytest.mark.parametrize("degrees", [1, 2, 5, 30, 1000])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_half_widths_are_scipys(level: float, degrees: int) -> None:
    expected = stats.t.ppf((1 + level) / 2, degrees)
    assert half_width(level, degrees) == pytest.approx(expected, rel=1e-9)


def test_an_infinite_t_is_certain() -> None:
    assert two_sided_p(math.inf, 3) == 0.0


def test_incomplete_beta_ends_at_zero_and_one() -> None:
    assert (incomplete_beta(0, 2, 3), incomplete_beta(1, 2, 3)) == (0.0, 1.0)


@pytest.mark.parametrize("levels", [3, 5, 1000])
@pytest.mark.parametrize("n", [8, 40, 150])
def test_rank_correlations_are_scipys_with_few_and_many_ties(n: int, levels: int) -> None:
    generator = np.random.default_rng(n + levels)
    first = generator.integers(0, levels, n).astype(float)
    second = first + generator.integers(-levels, levels + 1, n).astype(float)
    assert average_ranks(first).tolist() == stats.rankdata(first).tolist()
    for ours, theirs in (
        (spearman(first, second), stats.spearmanr(first, second)),
        (kendall(first, second), stats.kendalltau(first, second, method="asymptotic")),
    ):
        assert ours[0] == pytest.approx(theirs.statistic, rel=1e-9, abs=1e-12)
        assert ours[1] == pytest.approx(theirs.pvalue, rel=1e-6)


def test_a_constant_is_correlated_with_nothing() -> None:
    constant, ramp = np.ones(5), np.arange(5.0)
    assert spearman(constant, ramp) == (0.0, 1.0)
    assert kendall(ramp, constant) == (0.0, 1.0)


def test_equal_orders_are_perfectly_correlated() -> None:
    ramp = np.arange(6.0)
    assert spearman(ramp, ramp**3) == (1.0, 0.0)
    assert kendall(ramp, -ramp)[0] == -1.0
