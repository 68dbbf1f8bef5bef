"""Quartile means, ties and trends."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import norm

from threedrs_components.probing.quartiles import quartile_analysis, sample_quartiles


def jonckheere(groups: list[list[float]]) -> float:
    """Two-sided p value of the Jonckheere-Terpstra test, normal approximation, no ties."""
    statistic = sum(
        (b > a) + 0.5 * (a == b) for low, high in combinations(groups, 2) for a in low for b in high
    )
    sizes = [len(group) for group in groups]
    n = sum(sizes)
    mean = (n**2 - sum(size**2 for size in sizes)) / 4
    variance = (n**2 * (2 * n + 3) - sum(size**2 * (2 * size + 3) for size in sizes)) / 72
    return float(2 * norm.sf(abs(statistic - mean) / math.sqrt(variance)))


def test_quartiles_are_of_equal_size_and_in_order_of_score() -> None:
    result = quartile_analysis([4, 3, 2, 1, 8, 7, 6, 5], [0.4, 0.3, 0.2, 0.1, 0.8, 0.7, 0.6, 0.5])
    assert result.counts == (2, 2, 2, 2)
    assert result.means == pytest.approx((0.15, 0.35, 0.55, 0.75))
    assert result.mean_scores == pytest.approx((1.5, 3.5, 5.5, 7.5))
    assert result.spearman == pytest.approx(1.0)
    assert result.verdict == "rises"


def test_falling_values_fall() -> None:
    values = list(range(20))
    assert quartile_analysis(values, values[::-1]).verdict == "falls"


def test_trend_is_jonckheeres() -> None:
    generator = np.random.default_rng(0)
    scores = generator.permutation(40).astype(float)
    values = generator.normal(size=40) + scores / 40
    order = np.argsort(scores)
    groups = [values[order[start : start + 10]].tolist() for start in range(0, 40, 10)]
    result = quartile_analysis(scores.tolist(), values.tolist())
    assert result.trend_p_value == pytest.approx(jonckheere(groups), rel=1e-9)


def test_noise_shows_no_trend() -> None:
    generator = np.random.default_rng(1)
    result = quartile_analysis(
        generator.normal(size=60).tolist(), generator.normal(size=60).tolist()
    )
    assert result.p_value > 0.05
    assert result.verdict == "no trend"


def test_ties_take_average_ranks() -> None:
    """With ranks by position, constant captions correlate with whatever the file is sorted by."""
    scores = list(range(1, 41))
    values = [1.0 if score % 20 == 0 else 0.0 for score in scores]
    result = quartile_analysis(scores, values)
    centred = np.where(np.array(values) == 1, 39.5, 19.5) - 20.5
    expected = np.corrcoef(scores, centred)[0, 1]
    assert result.spearman == pytest.approx(expected)
    assert result.verdict == "no trend"


def test_equal_scores_share_a_quartile() -> None:
    result = quartile_analysis([1, 1, 1, 1, 2, 3, 4, 5], [0, 1, 0, 1, 0, 1, 0, 1])
    assert sum(result.counts) == 8
    assert max(result.counts) >= 4


@pytest.mark.parametrize("which", ["scores", "values"])
def test_a_constant_has_no_trend(which: str) -> None:
    ramp, flat = [1.0, 2.0, 3.0, 4.0, 5.0], [2.0] * 5
    result = quartile_analysis(*((flat, ramp) if which == "scores" else (ramp, flat)))
    assert (result.spearman, result.p_value, result.verdict) == (0.0, 1.0, "no trend")


def test_three_units_are_too_few() -> None:
    with pytest.raises(ValueError, match="at least 4 units, got 3"):
        quartile_analysis([1, 2, 3], [1, 2, 3])


def test_a_number_that_is_not_finite_is_named() -> None:
    with pytest.raises(ValueError, match="score of unit 2 is nan"):
        quartile_analysis([1, 2, math.nan, 4], [1, 2, 3, 4])


def test_samples_are_cut_into_quartiles_by_the_score_of_their_scene() -> None:
    """Eight samples: one scene of four makes up the two lower quartiles' ranks, and stays whole."""
    found = sample_quartiles([0.1, 0.2, 0.3], [1.0, 0.0, 0.5], [2, 2, 4])
    assert found.counts == (2, 2, 0, 4)
    assert found.means[:2] == (1.0, 0.0) and found.means[3] == 0.5
    assert math.isnan(found.means[2])


def test_samples_and_scenes_agree_where_every_scene_has_one_sample() -> None:
    scores, values = [4, 3, 2, 1, 8, 7, 6, 5], [0.4, 0.3, 0.2, 0.1, 0.8, 0.7, 0.6, 0.5]
    scenes, samples = quartile_analysis(scores, values), sample_quartiles(scores, values, [1] * 8)
    assert (samples.means, samples.counts) == (scenes.means, scenes.counts)


def test_a_scene_with_more_samples_weighs_more_among_samples_alone() -> None:
    scores, values = [1, 2, 3, 4, 5, 6, 7, 8], [1.0, 0, 0, 0, 0, 0, 0, 0]
    counts = [3, 1, 2, 2, 2, 2, 2, 2]
    assert sample_quartiles(scores, values, counts).means[0] == pytest.approx(3 / 4)
    assert quartile_analysis(scores, values).means[0] == pytest.approx(1 / 2)
