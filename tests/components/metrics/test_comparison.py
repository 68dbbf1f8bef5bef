"""Paired tests and their correction."""

import numpy as np
import pytest
from scipy import stats

from threedrs_components.metrics import comparison
from threedrs_components.metrics.comparison import compare_paired, holm, sign_flip_p


def test_paired_t_of_a_worked_example() -> None:
    # Differences 1, 2, 3: mean 2, sd 1, t = 2 / (1 / sqrt 3) = 3.464, two-sided p (2 df) 0.0742,
    # interval 2 -+ 4.3027 / sqrt 3.
    result = compare_paired([0.0, 0.0, 0.0], [1.0, 2.0, 3.0])
    assert result.difference == 2.0 and result.sd == 1.0
    assert result.t == pytest.approx(3.4641, abs=1e-4)
    assert result.p_t == pytest.approx(0.0742, abs=1e-4)
    assert result.interval == pytest.approx((2 - 2.4841, 2 + 2.4841), abs=1e-3)
    assert result.verdict() == "no significant difference"


def test_verdict_names_the_direction() -> None:
    low, high = [0.1, 0.2, 0.3, 0.2], [1.1, 1.3, 1.2, 1.2]
    assert compare_paired(low, high).verdict() == "higher"
    assert compare_paired(high, low).verdict() == "lower"
    assert compare_paired(low, high).verdict(p=0.2) == "no significant difference"


def test_p_values_agree_with_scipy() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(2, 9))
    second = second + 0.7
    result = compare_paired(first.tolist(), second.tolist())
    assert result.p_t == pytest.approx(stats.ttest_rel(second, first).pvalue)
    reference = stats.permutation_test(
        (second - first,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert result.p_permutation == pytest.approx(reference.pvalue)


def test_all_positive_differences_of_three_seeds_cannot_reach_a_quarter() -> None:
    # Of the 8 sign patterns only all-plus and all-minus are as extreme.
    assert sign_flip_p(np.array([1.0, 2.0, 3.0])) == 2 / 8


def test_many_pairs_are_sampled_and_close_to_the_t_test() -> None:
    differences = np.random.default_rng(3).normal(0.2, 1, size=200)
    expected = stats.ttest_1samp(differences, 0).pvalue
    assert sign_flip_p(differences) == pytest.approx(expected, abs=0.01)


def test_one_pair_gives_a_difference_and_no_test() -> None:
    result = compare_paired([1.0], [3.0])
    assert result.difference == 2.0 and result.p_t is None
    assert result.verdict() == "one pair: no test possible"


def test_equal_arms_have_p_one() -> None:
    result = compare_paired([1.0, 2.0], [1.0, 2.0])
    assert (result.t, result.p_t, result.p_permutation) == (0.0, 1.0, 1.0)


def test_a_constant_difference_is_infinitely_significant() -> None:
    result = compare_paired([1.0, 2.0], [2.0, 3.0])
    assert result.t == float("inf") and result.p_t == 0.0


def test_unpaired_arms_are_refused() -> None:
    with pytest.raises(ValueError, match="2 values against 1"):
        compare_paired([1.0, 2.0], [1.0])


def test_holm_steps_down() -> None:
    # Sorted .01 .02 .04: times 3, 2, 1 = .03 .04 .04, never falling.
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


@pytest.mark.parametrize("most_kept", [0, 1 << 23])
def test_kept_signs_are_those_that_would_be_drawn(
    monkeypatch: pytest.MonkeyPatch, most_kept: int
) -> None:
    monkeypatch.setattr(comparison, "MOST_KEPT", most_kept)
    differences = np.random.default_rng(3).normal(0.15, 1.0, size=40)
    generator = np.random.default_rng(0)
    flips = [
        generator.integers(0, 2, size=(rows, 40), dtype=np.int8) * 2.0 - 1.0
        for rows in (1000, 1000, 500)
    ]
    means = np.abs(np.concatenate(flips) @ differences) / 40
    wanted = (np.sum(means >= abs(differences.mean()) - 1e-12) + 1) / 2501
    for _ in range(2):
        assert sign_flip_p(differences, resamples=2500) == wanted
