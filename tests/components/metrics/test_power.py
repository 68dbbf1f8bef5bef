"""Seeds of a paired t test, against tables and against simulation."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from threedrs_components.metrics.power import pooled_deviation, power_of_seeds, seeds_needed


@pytest.mark.parametrize(("effect", "seeds"), [(0.5, 34), (1.0, 10), (1.25, 8), (2.0, 5)])
def test_seeds_are_those_of_the_textbooks(effect: float, seeds: int) -> None:
    assert seeds_needed(effect, 1.0) == seeds


def test_power_is_how_often_a_simulated_test_sees_the_difference() -> None:
    draws = np.random.default_rng(0).normal(1.0, 0.8, size=(4000, 5))
    seen = float((ttest_1samp(draws, 0.0, axis=1).pvalue < 0.05).mean())
    assert power_of_seeds(5, 1.0, 0.8) == pytest.approx(seen, abs=0.025)


def test_hopeless_differences_have_no_number() -> None:
    assert seeds_needed(0.01, 5.0) is None
    assert seeds_needed(1.0, 0.0) == 2


def test_the_deviation_is_within_cells() -> None:
    assert pooled_deviation([[1.0, 3.0], [11.0, 13.0]]) == pytest.approx(2**0.5)
    assert pooled_deviation([[1.0], [5.0]]) is None
