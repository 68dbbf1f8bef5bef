"""The sentences on top of a report: who, how much, and what stays open."""

from __future__ import annotations

from dataclasses import replace

import pytest

from threedrs_components.report.document import SMOKE, Report, make_report
from threedrs_components.report.render import FORMATS, render
from threedrs_platform.database.measurements import SceneTotal
from threedrs_platform.states import StepState
from threedrs_platform.testing.fake_results import Values, fake_results


def report(seeds: int, compare_to: str | None = None, unfinished: bool = False) -> Report:
    """A cell far above the baseline in one metric and beside it in another."""
    values: Values = {
        "baseline": {seed: {"acc": 10.0 + seed, "em": 5.0 + seed % 2} for seed in range(seeds)},
        "vggt": {seed: {"acc": 40.1 + seed, "em": 5.0 + seed % 3} for seed in range(seeds)},
    }
    failures = {("vggt", 0): (StepState.RUNNING, "")} if unfinished else {}
    return make_report(fake_results(values, failures=failures), compare_to=compare_to)


def test_the_difference_comes_with_its_interval_and_without_p_values() -> None:
    who, shown, left = report(seeds=4).opening
    assert who == "vggt compared with baseline, 4 seeds in pairs."
    assert "vggt acc +30.1 [" in shown and "em +" not in shown and "p =" not in shown
    assert "whether 1 of the 2 tested differences are more than chance" in left


@pytest.mark.parametrize(("metrics", "named", "rest"), [(4, 4, ""), (5, 3, "2 more")])
def test_no_single_finding_is_left_out(metrics: int, named: int, rest: str) -> None:
    names = [f"acc{number}" for number in range(metrics)]
    values: Values = {
        cell: {seed: {name: at + seed + seed % 2 * slope for name in names} for seed in range(4)}
        for cell, at, slope in (("baseline", 10.0, 0.0), ("vggt", 40.0, 0.1))
    }
    shown = make_report(fake_results(values)).opening[1]
    assert shown.count("acc") == named and rest in shown
    assert ("more" in shown) == bool(rest)


def test_two_seeds_show_nothing_and_it_is_said_why() -> None:
    _, shown, left = report(seeds=2).opening
    assert shown == "Nothing could be tested yet: 3 seeds are needed."
    assert "anything of 2 differences that nothing can test" in left


def test_planned_seeds_that_are_not_measured_test_nothing() -> None:
    one: Values = {
        name: {seed: {"acc": at + seed**2} if seed < 2 else {} for seed in range(4)}
        for name, at in (("baseline", 1.0), ("vggt", 9.0))
    }
    states = {(name, seed): (StepState.RUNNING, "") for name in one for seed in (2, 3)}
    _, shown, _ = make_report(fake_results(one, failures=states)).opening
    assert shown == "Nothing could be tested yet: 3 seeds are needed."


def test_a_choice_of_metrics_or_rows_hides_no_finding() -> None:
    values: Values = {
        name: {seed: {"acc": at + seed + seed % 2 * slope, "em": 5.0} for seed in range(4)}
        for name, at, slope in (("baseline", 10, 0.0), ("vggt", 40, 0.1), ("mae", 10, 0.2))
    }
    results = fake_results(values)
    em = make_report(results, metrics=["em"])
    few = replace(results, cells=tuple(each for each in results.cells if each.label != "vggt"))
    rows = make_report(results, shown=few)
    for made in (em, rows):
        assert "vggt acc +30.0 [" in made.opening[1]
    assert "vggt" not in rows.opening[0]


def test_scenes_are_named_where_they_are_known() -> None:
    assert "Beyond the chance of seeds: vggt" in report(seeds=4).opening[1]
    scenes = {f"room {index}": SceneTotal(10.0 * index, 4) for index in range(6)}
    more = {f"room {index}": SceneTotal(10.0 * index + 120, 4) for index in range(6)}
    totals = {
        (f"id-{name}", seed, "acc"): each
        for name, each in (("baseline", scenes), ("vggt", more))
        for seed in range(4)
    }
    values: Values = {
        name: {seed: {"acc": at, "em": 5.0} for seed in range(4)}
        for name, at in (("baseline", 6.25), ("vggt", 36.25))
    }
    results = fake_results(values)
    assert "seeds and scenes: vggt" in make_report(results, totals).opening[1]
    for shown in ((), ("em",)):
        assert "4 seeds in pairs, 6 scenes" in make_report(results, totals, shown).opening[0]


def test_a_run_that_goes_on_says_how_far_it_is() -> None:
    who, _, left = report(seeds=3, unfinished=True).opening
    assert "5 of 6 cells and seeds are finished" in who and "unfinished" in left


def test_a_run_without_the_grids_baseline_says_so_first_and_has_a_table() -> None:
    made = report(seeds=3, compare_to="posed")
    assert made.opening[0].startswith("NOT THE GRID'S BASELINE: posed") and made.differences
    assert not report(seeds=3, compare_to="baseline").opening[0].startswith("NOT")


def test_a_smoke_run_judges_nothing_and_still_says_which_baseline_it_has() -> None:
    made = make_report(fake_results({"a": {1: {"acc": 1.0}}}), compare_to="posed", smoke=True)
    missing, told = made.opening
    assert missing.startswith("NOT THE GRID'S BASELINE: posed") and told == SMOKE
    assert not made.findings


def test_every_format_begins_with_them() -> None:
    for style in FORMATS.keys() - {"csv"}:
        text = render(report(seeds=4), style, width=10_000)
        assert "compared with baseline" in text, style
        if style != "json":
            assert text.index("compared with baseline") < text.index(
                "±" if style != "latex" else "pm"
            )
