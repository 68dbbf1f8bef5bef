"""Two cells beside each other: what is shown changes no verdict."""

from __future__ import annotations

from typing import Any

from threedrs_components.report.document import make_report, run_family
from threedrs_components.report.pair import Pair, pair_cells, pair_sheets
from threedrs_platform.testing.fake_results import Values, fake_results

REPORTED = ("acc", "em", "cider")
VALUES: Values = {
    name: {
        seed: {"acc": acc + 0.1 * seed, "em": acc + seed % 2, "cider": 1.0 * seed, "other": 1.0}
        for seed in (1, 2, 3, 4)
    }
    for name, acc in (("baseline", 10.0), ("mae", 12.0), ("vggt", 30.3))
}
RUN = fake_results(VALUES)
CELLS = RUN.by_cell()


def pair(first: str, second: str, metrics: tuple[str, ...] = ()) -> Pair:
    """Two cells of the run."""
    chosen = CELLS[f"id-{first}"], CELLS[f"id-{second}"]
    family = run_family(RUN, None, REPORTED, None, (f"id-{first}", f"id-{second}"))
    return pair_cells(*chosen, metrics, run=RUN, reported=REPORTED, family=family)


def test_a_pair_with_the_baseline_has_the_verdicts_of_the_runs_table_either_way() -> None:
    report = make_report(RUN, reported=REPORTED)
    for made, sign in ((pair("baseline", "vggt"), 1), (pair("vggt", "baseline"), -1)):
        assert made.tests == len(report.family) == 6
        for each in made.differences:
            known = report.differences["id-vggt", each.metric]
            assert each.corrected == known.corrected and each.tests == 6
            assert each.both is not None and known.both is not None
            assert each.both.difference == sign * known.both.difference


def test_other_pairs_add_what_the_grid_reports_of_them_whatever_is_shown() -> None:
    whole, (alone,) = pair("mae", "vggt"), pair("mae", "vggt", ("acc",)).differences
    assert whole.tests == 9 and [each.metric for each in whole.differences] == list(REPORTED)
    assert alone == whole.differences[0] and alone.significant


def test_what_the_grid_does_not_report_is_shown_and_not_judged() -> None:
    (other,) = pair("mae", "vggt", ("other",)).differences
    assert other.tests is None and other.corrected is None
    assert pair("mae", "vggt", ("other",)).tests == 9


def test_cells_of_two_runs_are_corrected_over_what_the_grid_reports() -> None:
    twin = CELLS["id-mae"], CELLS["id-vggt"]
    shown = pair_cells(*twin, ("acc",), run=RUN, reported=REPORTED)
    assert shown.tests == 3 and [each.metric for each in shown.differences] == ["acc"]


def settings(params: dict[str, dict[str, Any]], every_setting: bool) -> tuple[list[str], str]:
    """Names of the settings that are listed, and the line below them."""
    cells = fake_results(VALUES, params).by_cell()
    both = pair_cells(cells["id-baseline"], cells["id-mae"], run=RUN, reported=REPORTED)
    sheet = pair_sheets(both, ("baseline", "mae"), every_setting)[1]
    return [row[0] for row in sheet.rows], sheet.legend


def test_settings_of_one_cell_alone_are_counted_and_listed_if_asked_for() -> None:
    params = {
        "baseline": {"teacher": "none", "training": {"steps": 4}},
        "mae": {"teacher": "mae", "training": {"steps": 9}, "teachers": {"mae": {"a": 1, "b": 2}}},
    }
    shown, more = settings(params, every_setting=False)
    assert shown == ["teacher", "training.steps"]
    assert more == "2 more are settings of what one cell alone has (--settings lists them)"
    every, none = settings(params, every_setting=True)
    assert every == ["teacher", "teachers.mae.a", "teachers.mae.b", "training.steps"]
    assert none == ""


def test_where_nothing_else_differs_what_one_cell_has_is_listed() -> None:
    params: dict[str, dict[str, Any]] = {
        "baseline": {"teacher": "mae"},
        "mae": {"teacher": "mae", "fusion": {"mode": "add"}},
    }
    assert settings(params, every_setting=False) == (["fusion.mode"], "")


def test_a_setting_that_both_have_as_null_or_a_number_is_listed() -> None:
    params: dict[str, dict[str, Any]] = {
        "baseline": {"voxel_m": None, "steps": 4},
        "mae": {"voxel_m": 0.1, "steps": 9},
    }
    assert settings(params, every_setting=False) == (["steps", "voxel_m"], "")
