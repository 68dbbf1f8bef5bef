"""Differences: paired over seeds, exchanged over scenes, corrected for many metrics."""

from __future__ import annotations

import numpy as np
import pytest

from threedrs_components.report.comparison import compare_cells, compare_with_baseline
from threedrs_components.report.table import result_table
from threedrs_platform.database.measurements import SceneTotal, SceneTotals
from threedrs_platform.testing.fake_results import fake_results


def totals_of(cells: dict[str, list[float]], seed: int = 1, metric: str = "acc") -> SceneTotals:
    """One sample per scene."""
    return {
        (f"id-{cell}", seed, metric): {
            f"room-{index}": SceneTotal(value, 1) for index, value in enumerate(values)
        }
        for cell, values in cells.items()
    }


def test_the_published_position_gain_is_found_over_six_seeds() -> None:
    """Seeds and t of the study that the default world comes from."""
    baseline = [24.0, 22.7, 23.7, 25.2, 23.5, 30.2]
    vggt = [61.8, 32.3, 31.1, 51.0, 47.5, 65.3]
    results = fake_results(
        {
            name: {seed: {"acc": value} for seed, value in enumerate(values, start=1)}
            for name, values in (("baseline", baseline), ("vggt", vggt))
        }
    )
    difference = compare_with_baseline(result_table(results))["id-vggt", "acc"]
    assert difference.over_seeds is not None and difference.over_seeds.t is not None
    assert difference.over_seeds.difference == pytest.approx(23.28, abs=0.01)
    assert difference.over_seeds.t == pytest.approx(4.5, abs=0.05)
    assert difference.verdict == "higher"


def test_equal_cells_do_not_differ() -> None:
    same = {1: {"acc": 40.0}, 2: {"acc": 41.0}, 3: {"acc": 39.0}}
    table = result_table(fake_results({"baseline": same, "copy": same}))
    difference = compare_with_baseline(table)["id-copy", "acc"]
    assert difference.verdict == "no significant difference"
    assert difference.over_seeds is not None and difference.over_seeds.difference == 0


def test_only_common_seeds_are_paired() -> None:
    table = result_table(
        fake_results(
            {
                "baseline": {1: {"acc": 10.0}, 2: {"acc": 20.0}},
                "vggt": {2: {"acc": 25.0}, 3: {"acc": 90.0}},
            }
        )
    )
    difference = compare_with_baseline(table)["id-vggt", "acc"]
    assert difference.seeds == (2,)
    assert difference.over_seeds is not None and difference.over_seeds.difference == 5.0
    assert difference.verdict == "one seed: no test possible"


def test_cells_without_a_common_seed_are_not_compared() -> None:
    results = fake_results({"baseline": {1: {"acc": 1.0}}, "vggt": {2: {"acc": 2.0}}})
    difference = compare_with_baseline(result_table(results))["id-vggt", "acc"]
    assert difference.verdict == "not comparable: no seed in common"


def test_one_seed_can_differ_over_scenes_and_says_that_this_is_all() -> None:
    results = fake_results({"baseline": {1: {"acc": 0.0}}, "vggt": {1: {"acc": 100.0}}})
    totals = totals_of({"baseline": [0.0] * 30, "vggt": [100.0] * 30})
    difference = compare_with_baseline(result_table(results), totals)["id-vggt", "acc"]
    assert difference.verdict == "higher on these scenes; one seed, so no test over seeds"
    assert difference.over_scenes is not None
    assert (difference.over_scenes.scenes, difference.over_scenes.difference) == (30, 100.0)


def test_one_seed_without_a_difference_says_so_for_its_scenes() -> None:
    results = fake_results({"baseline": {1: {"acc": 50.0}}, "vggt": {1: {"acc": 50.0}}})
    totals = totals_of({"baseline": [0.0, 100.0] * 15, "vggt": [100.0, 0.0] * 15})
    difference = compare_with_baseline(result_table(results), totals)["id-vggt", "acc"]
    assert difference.is_quiet
    assert difference.verdict == (
        "no significant difference on these scenes; one seed, so no test over seeds"
    )


def test_scenes_answered_by_one_cell_only_are_left_out_and_counted() -> None:
    results = fake_results({"baseline": {1: {"acc": 0.0}}, "vggt": {1: {"acc": 1.0}}})
    totals = totals_of({"baseline": [0.0] * 20, "vggt": [1.0] * 18})
    difference = compare_with_baseline(result_table(results), totals)["id-vggt", "acc"]
    assert difference.over_scenes is not None
    assert (difference.over_scenes.scenes, difference.over_scenes.left_out) == (18, 2)


def test_scene_test_keeps_its_level_when_nothing_differs() -> None:
    """With no difference about one comparison in twenty is called significant."""
    generator = np.random.default_rng(0)
    found = 0
    for _ in range(100):
        first, second = generator.integers(0, 2, (2, 40)) * 100.0
        results = fake_results(
            {"baseline": {1: {"acc": first.mean()}}, "vggt": {1: {"acc": second.mean()}}}
        )
        totals = totals_of({"baseline": list(first), "vggt": list(second)})
        difference = compare_with_baseline(result_table(results), totals)["id-vggt", "acc"]
        found += difference.significant_over_scenes
    assert found <= 12


def test_many_metrics_are_corrected_together() -> None:
    """A p of .01 alone is a finding; as the best of ten it is none."""
    gains = {1: 1.0, 2: 1.3, 3: 0.9}
    one = {"m0": 0.0}
    ten = {f"m{index}": 0.0 for index in range(10)}
    for metrics, verdict in ((one, "higher"), (ten, "no significant difference")):
        noise = {seed: {name: seed * 7.0 % 3 for name in metrics} for seed in gains}
        table = result_table(
            fake_results(
                {
                    "baseline": noise,
                    "vggt": {
                        seed: {
                            name: value + (gains[seed] if name == "m0" else (-1.0) ** seed)
                            for name, value in values.items()
                        }
                        for seed, values in noise.items()
                    },
                }
            )
        )
        assert compare_with_baseline(table)["id-vggt", "m0"].verdict == verdict


def test_what_an_arm_costs_is_shown_and_not_tested() -> None:
    """Else constants would be findings, and every result would pay for them."""
    numbers = {
        "baseline": {seed: {"acc": 1.0 * seed, "training/parameters": 1.0} for seed in (1, 2, 3)},
        "vggt": {
            seed: {"acc": 1.0 * seed + gain, "training/parameters": 2.0}
            for seed, gain in ((1, 1.0), (2, 1.3), (3, 0.9))
        },
    }
    differences = compare_with_baseline(result_table(fake_results(numbers), ("*",)))
    cost = differences["id-vggt", "training/parameters"]
    assert cost.over_seeds is not None and cost.over_seeds.difference == 1
    assert cost.corrected is None and not cost.significant
    gain = differences["id-vggt", "acc"]
    assert gain.over_seeds is not None and gain.corrected == gain.over_seeds.p_t
    assert gain.verdict == "higher"


def test_any_two_cells_can_be_compared() -> None:
    values = {"a": {1: {"acc": 1.0}}, "b": {1: {"acc": 3.0}}, "c": {1: {"other": 3.0}}}
    table = result_table(fake_results(values))
    (only,) = compare_cells(table, "id-a", "id-b")
    assert only.over_seeds is not None and only.over_seeds.difference == 2.0
    assert compare_cells(table, "id-a", "id-c") == []
