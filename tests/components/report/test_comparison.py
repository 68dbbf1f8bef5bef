"""Differences: paired over seeds, exchanged over scenes, corrected for many metrics."""

from __future__ import annotations

import numpy as np
import pytest

from threedrs_components.report.comparison import Difference, compare_metric, scene_gaps
from threedrs_components.report.document import Report, make_report
from threedrs_components.report.sheets import sheets
from threedrs_components.report.table import result_table
from threedrs_platform.database.measurements import RunResults, SceneTotal, SceneTotals
from threedrs_platform.states import StepState
from threedrs_platform.testing.fake_results import fake_results


def totals_of(cells: dict[str, list[float]], seed: int = 1, metric: str = "acc") -> SceneTotals:
    """One sample per scene."""
    return {
        (f"id-{cell}", seed, metric): {
            f"room-{index}": SceneTotal(value, 1) for index, value in enumerate(values)
        }
        for cell, values in cells.items()
    }


def against_baseline(
    results: RunResults, totals: SceneTotals | None = None, shown: tuple[str, ...] = ()
) -> dict[tuple[str, str], Difference]:
    """The differences of a report whose grid reports every metric."""
    return dict(make_report(results, totals, shown, reported=("*",)).differences)


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
    difference = against_baseline(results)["id-vggt", "acc"]
    assert difference.over_seeds is not None and difference.over_seeds.t is not None
    assert difference.over_seeds.difference == pytest.approx(23.28, abs=0.01)
    assert difference.over_seeds.t == pytest.approx(4.5, abs=0.05)
    assert difference.verdict == "higher"


def test_equal_cells_do_not_differ() -> None:
    same = {1: {"acc": 40.0}, 2: {"acc": 41.0}, 3: {"acc": 39.0}}
    results = fake_results({"baseline": same, "copy": same})
    difference = against_baseline(results)["id-copy", "acc"]
    assert difference.verdict == "no significant difference"
    assert difference.over_seeds is not None and difference.over_seeds.difference == 0


def test_gaps_by_scene_are_those_of_the_scenes_that_all_answered_in_full() -> None:
    def answered(**rooms: tuple[float, int]) -> dict[str, SceneTotal]:
        return {room: SceneTotal(*each) for room, each in rooms.items()}

    totals: SceneTotals = {
        ("a", 1, "acc"): answered(c=(3.0, 2), a=(1.0, 1), b=(5.0, 4), d=(1.0, 1)),
        ("b", 1, "acc"): answered(a=(4.0, 1), b=(5.0, 3), c=(7.0, 2)),
        ("a", 2, "acc"): answered(a=(2.0, 1), b=(5.0, 4), c=(1.0, 2), d=(1.0, 1)),
        ("b", 2, "acc"): answered(a=(2.5, 1), b=(5.0, 4), c=(0.0, 2), d=(1.0, 1)),
        ("a", 3, "acc"): answered(a=(2.0, 1)),
    }
    gaps = scene_gaps(totals, "a", "b", "acc", (1, 2, 3))
    assert gaps is not None and gaps.seeds == (1, 2) and gaps.left_out == 2
    assert gaps.sums.tolist() == [[3.0, 4.0], [0.5, -1.0]] and gaps.counts.tolist() == [1, 2]
    assert scene_gaps(totals, "a", "b", "acc", (3,)) is None
    apart: SceneTotals = {**totals, ("b", 3, "acc"): answered(b=(1.0, 1))}
    assert scene_gaps(apart, "a", "b", "acc", (3,)) is None


def test_only_common_seeds_are_paired() -> None:
    results = fake_results(
        {
            "baseline": {1: {"acc": 10.0}, 2: {"acc": 20.0}},
            "vggt": {2: {"acc": 25.0}, 3: {"acc": 90.0}},
        }
    )
    difference = against_baseline(results)["id-vggt", "acc"]
    assert difference.seeds == (2,)
    assert difference.over_seeds is not None and difference.over_seeds.difference == 5.0
    assert difference.verdict == "one seed cannot show more"


def test_cells_without_a_common_seed_are_not_compared() -> None:
    results = fake_results({"baseline": {1: {"acc": 1.0}}, "vggt": {2: {"acc": 2.0}}})
    difference = against_baseline(results)["id-vggt", "acc"]
    assert difference.verdict == "not comparable: no seed in common"


def test_one_seed_can_differ_over_scenes_and_says_that_this_is_all() -> None:
    results = fake_results({"baseline": {1: {"acc": 0.0}}, "vggt": {1: {"acc": 100.0}}})
    totals = totals_of({"baseline": [0.0] * 30, "vggt": [100.0] * 30})
    difference = against_baseline(results, totals)["id-vggt", "acc"]
    assert difference.verdict == "higher on these scenes; one seed cannot show more"
    assert difference.over_scenes is not None
    assert (difference.over_scenes.scenes, difference.over_scenes.difference) == (30, 100.0)


def test_one_seed_without_a_difference_says_so_for_its_scenes() -> None:
    results = fake_results({"baseline": {1: {"acc": 50.0}}, "vggt": {1: {"acc": 50.0}}})
    totals = totals_of({"baseline": [0.0, 100.0] * 15, "vggt": [100.0, 0.0] * 15})
    difference = against_baseline(results, totals)["id-vggt", "acc"]
    assert difference.is_quiet
    assert difference.verdict == (
        "no significant difference on these scenes; one seed cannot show more"
    )


def test_scenes_answered_by_one_cell_only_are_left_out_and_counted() -> None:
    results = fake_results({"baseline": {1: {"acc": 0.0}}, "vggt": {1: {"acc": 1.0}}})
    totals = totals_of({"baseline": [0.0] * 20, "vggt": [1.0] * 18})
    difference = against_baseline(results, totals)["id-vggt", "acc"]
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
        difference = against_baseline(results, totals)["id-vggt", "acc"]
        found += difference.significant_over_scenes
    assert found <= 12


def test_many_metrics_are_corrected_together() -> None:
    """A p of .01 alone is a finding; as the best of ten it is none."""
    gains = {1: 10.0, 2: 13.0, 3: 9.0}
    one = {"m0": 0.0}
    ten = {f"m{index}": 0.0 for index in range(10)}
    for metrics, verdict in ((one, "higher"), (ten, "no significant difference")):
        noise = {seed: {name: seed * 7.0 % 3 for name in metrics} for seed in gains}
        results = fake_results(
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
        assert against_baseline(results)["id-vggt", "m0"].verdict == verdict


def test_what_an_arm_costs_is_shown_and_not_tested() -> None:
    """Else constants would be findings, and every result would pay for them."""
    numbers = {
        "baseline": {seed: {"acc": 1.0 * seed, "training/parameters": 1.0} for seed in (1, 2, 3)},
        "vggt": {
            seed: {"acc": 1.0 * seed + gain, "training/parameters": 2.0}
            for seed, gain in ((1, 1.0), (2, 1.3), (3, 0.9))
        },
    }
    differences = against_baseline(fake_results(numbers))
    cost = differences["id-vggt", "training/parameters"]
    assert cost.over_seeds is not None and cost.over_seeds.difference == 1
    assert cost.corrected is None and cost.tests is None and cost.is_quiet
    gain = differences["id-vggt", "acc"]
    assert gain.both is not None and gain.tests == 1 and gain.corrected == gain.both.p


def test_seconds_are_no_headline() -> None:
    """They would be a column of every table, and one more test of `workflows compare`."""
    values = {"baseline": {1: {"acc": 1.0, "prediction/seconds_per_scene": 2.0}}}
    assert [column.name for column in result_table(fake_results(values)).columns] == ["acc"]


def test_any_two_cells_can_be_compared() -> None:
    values = {"a": {1: {"acc": 1.0}}, "b": {1: {"acc": 3.0}}, "c": {1: {"other": 3.0}}}
    table = result_table(fake_results(values))
    only = compare_metric(table, "id-a", "id-b", "acc")
    assert only is not None and only.over_seeds is not None
    assert only.over_seeds.difference == 2.0
    assert compare_metric(table, "id-a", "id-c", "acc") is None


def seeded(cells: dict[str, list[float]], metrics: tuple[str, ...] = ("acc",)) -> RunResults:
    return fake_results(
        {
            cell: {seed: dict.fromkeys(metrics, value) for seed, value in enumerate(values)}
            for cell, values in cells.items()
        }
    )


def test_two_seeds_without_spread_are_no_certainty() -> None:
    """Integer counts that differ alike under two seeds once gave p = 0 and [-0.7, -0.7]."""
    results = seeded({"baseline": [40.0, 41.0], "vggt": [39.3, 40.3]})
    difference = against_baseline(results)["id-vggt", "acc"]
    assert difference.both is not None and difference.both.p is None
    assert difference.both.interval is not None and difference.both.interval[1] > -0.6
    assert difference.verdict == "two seeds cannot show more"


def test_a_star_does_not_depend_on_what_is_shown() -> None:
    metrics = tuple(f"m{index}" for index in range(6))
    results = seeded({"baseline": [10.0, 11.0, 9.0], "vggt": [13.0, 14.4, 11.9]}, metrics)
    every = against_baseline(results)["id-vggt", "m0"]
    alone = against_baseline(results, shown=("m0",))["id-vggt", "m0"]
    assert every == alone and alone.tests == 6


def test_what_the_grid_does_not_report_is_compared_but_not_judged() -> None:
    results = seeded({"baseline": [10.0, 11.0, 9.0], "vggt": [50.0, 51.0, 49.1]}, ("a", "b"))
    found = make_report(results, None, ("*",), reported=("a",)).differences
    assert found["id-vggt", "a"].verdict == "higher"
    outside = found["id-vggt", "b"]
    assert outside.both is not None and outside.both.p is not None and outside.both.p < 0.05
    assert outside.is_quiet and outside.verdict == "outside the run's tests"


def test_a_metric_that_is_not_there_yet_is_a_column_of_missing_numbers() -> None:
    results = seeded({"baseline": [1.0], "vggt": [2.0]})
    report = make_report(results, reported=("acc", "scanqa/em@1", "probe/*"))
    assert [column.name for column in report.table.columns] == ["acc", "scanqa/em@1"]
    assert report.table.rows[0].entries["scanqa/em@1"].mean is None
    asked = make_report(results, metrics=("acc", "scanqa/*"), reported=("scanqa/em@1", "acc"))
    assert [column.name for column in asked.table.columns] == ["scanqa/em@1", "acc"]


def test_what_is_not_measured_yet_counts_among_the_tests() -> None:
    """A star that a run shows while it goes on must not be lost because more was measured."""
    seeds = {1: 10.0, 2: 11.0, 3: 9.0}
    values = {
        "baseline": {seed: {"acc": value} for seed, value in seeds.items()},
        "vggt": {seed: {"acc": value + 3 + seed / 10} for seed, value in seeds.items()},
        "mae": {seed: dict[str, float]() for seed in seeds},
    }
    running = {("mae", seed): (StepState.RUNNING, "") for seed in seeds}
    reported = ("acc", "scanqa/em@1")

    def report_of(failures: dict[tuple[str, int], tuple[StepState, str]]) -> Report:
        return make_report(fake_results(values, failures=failures), reported=reported)

    done, going_on = report_of({}), report_of(running)
    assert len(done.family) == 1 and len(going_on.family) == 3 and going_on.family.awaited == 2
    alone, early = (each.differences["id-vggt", "acc"] for each in (done, going_on))
    assert alone.corrected is not None and early.tests == 3
    assert early.corrected == pytest.approx(3 * alone.corrected)
    legends = " ".join(sheet.legend for sheet in sheets(going_on))
    assert "3 tested differences (2 of them without numbers yet)" in legends


def test_scenes_widen_the_interval_of_seeds_that_agree() -> None:
    """Three seeds that agree to the digit say nothing about other scenes."""
    generator = np.random.default_rng(0)
    gains = generator.normal(10.0, 40.0, 40)
    gains += 10.0 - gains.mean()
    results = seeded({"baseline": [50.0] * 3, "vggt": [60.0] * 3})
    totals = {
        key: value
        for seed in range(3)
        for key, value in totals_of(
            {"baseline": [50.0] * 40, "vggt": list(50 + gains)}, seed
        ).items()
    }
    both = against_baseline(results, totals)["id-vggt", "acc"].both
    assert both is not None and both.interval is not None and both.scenes == 40
    assert both.interval[0] == pytest.approx(10 - 2.02 * gains.std(ddof=1) / 40**0.5, abs=0.4)
