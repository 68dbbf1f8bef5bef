"""Ours beside the paper's: which tables are shown, and what is said with them."""

from __future__ import annotations

from typing import Any

import pytest

from threedrs_components.report.beside_paper import (
    OTHER_SCALE,
    Beside,
    beside_paper,
    paper_json,
    paper_notes,
    paper_sheets,
)
from threedrs_components.report.table import ResultTable, result_table
from threedrs_platform.errors import ConfigError
from threedrs_platform.records import Metric
from threedrs_platform.testing.fake_results import fake_results

ACC, F1 = "scanrefer/acc@0.25", "multi3drefer/f1@0.25"
STUDENT = {"kind": "llava_video", "size": "micro", "micro": {"layers": 3}}
TEACHERS = {name: {name: {"kind": name}} for name in ("vggt", "mae")}


def cell(teacher: str = "none", **changes: Any) -> dict[str, Any]:
    params: dict[str, Any] = {
        "scenes": {"kind": "micro"},
        "student": "llava",
        "students": {"llava": STUDENT},
        "teacher": teacher,
        "correspondence": {"weight": 0.0},
    }
    if teacher != "none":
        params["teachers"] = TEACHERS[teacher]
        params["alignment"] = {"loss": "cosine", "weight": 3.0, "layers": [-1]}
    return {**params, **changes}


def numbers(*values: float) -> dict[int, dict[str, float | Metric]]:
    return {seed: {ACC: value, F1: value / 2} for seed, value in enumerate(values, 1)}


def study(name: str = "study", **cells: dict[str, Any]) -> ResultTable:
    chosen = cells or {"baseline": cell(), "vggt": cell("vggt"), "mae": cell("mae")}
    values = {each: numbers(20.0 + 5 * at, 22.0 + 5 * at) for at, each in enumerate(chosen)}
    return result_table(fake_results(values, chosen, {}, name), ("*",))


def shown(found: list[Beside]) -> list[str]:
    return [each.paper.name for each in found]


def test_tables_that_say_no_more_than_another_are_left_out() -> None:
    assert shown(beside_paper(study())) == ["table4"]


def test_a_run_named_as_a_table_shows_it_first() -> None:
    assert shown(beside_paper(study("table6-smoke")))[0] == "table6"
    assert shown(beside_paper(study("table6"))) == ["table6", "table4"]


def test_tables_that_add_something_stay_in_the_paper_s_order() -> None:
    supervised = cell(correspondence={"weight": 1.0})
    found = beside_paper(study(a=cell(), b=cell("vggt"), c=cell("mae"), d=supervised))
    assert shown(found) == ["table4", "table5"]


def test_tables_of_details_are_shown_when_asked_for_and_the_notes_name_them() -> None:
    table = study()
    assert "table7" not in shown(beside_paper(table))
    assert any("paper:table7" in note for note in paper_notes(beside_paper(table), table))
    assert shown(beside_paper(table, "table7")) == ["table7"]


def test_a_run_of_one_cell_is_shown_in_its_richest_table() -> None:
    assert len(beside_paper(study(alone=cell("mae")))) == 1


def test_numbers_stand_one_above_the_other() -> None:
    sheet = paper_sheets(beside_paper(study(), "table4", (ACC,)))[0]
    assert sheet.header == ("", ACC)
    assert sheet.rows[:4] == (
        ("ours: baseline", "21.0 ± 1.4"),
        ("paper: Baseline", "58.1"),
        ("ours: vggt", "26.0 ± 1.4"),
        ("paper: VGGT", "62.9"),
    )


def test_what_we_did_not_measure_is_a_dash() -> None:
    sheet = paper_sheets(beside_paper(study(), "table4", ("scanqa/cider",)))[0]
    assert sheet.rows[0] == ("ours: baseline", "-")
    assert sheet.rows[1] == ("paper: Baseline", "102.1")


def test_gains_are_over_each_one_s_own_baseline() -> None:
    gains = paper_sheets(beside_paper(study(), "table4", (ACC,)))[1]
    assert gains.rows == (
        ("ours: vggt", "+5.0"),
        ("paper: VGGT", "+4.8"),
        ("ours: mae", "+10.0"),
        ("paper: MAE", "+1.0"),
    )


def test_many_metrics_become_rows_unless_turned_back() -> None:
    found = beside_paper(study(), "table4")
    assert paper_sheets(found)[0].header[1:3] == ("ours: baseline", "paper: Baseline")
    assert paper_sheets(found, pivot=True)[0].header[1] == ACC


def test_repaired_cells_are_marked_and_explained() -> None:
    table = study(a=cell(), b=cell("vggt"))
    found = beside_paper(table, "table5", (ACC,))
    sheet = paper_sheets(found)[0]
    assert sheet.rows[1] == ("paper: Baseline", "58.1†")
    assert "† repaired" in sheet.legend
    assert any("printed: 58.0)" in line and "†" in line for line in paper_notes(found, table))


def test_another_scale_is_said_of_the_micro_world_only() -> None:
    table = study()
    assert OTHER_SCALE in paper_notes(beside_paper(table), table)
    real = study(a=cell(scenes={"kind": "scannet"}), b=cell("vggt", scenes={"kind": "scannet"}))
    assert OTHER_SCALE not in paper_notes(beside_paper(real), real)


def test_json_has_both_sides_and_the_reasons() -> None:
    found = beside_paper(study(a=cell(), b=cell("vggt")), "table5", (ACC,))
    (table,) = paper_json(found, ["note"])["tables"]
    first = table["rows"][0]
    assert (first["cell"], first["method"], first["is_baseline"]) == ("a", "Baseline", True)
    sides = first["metrics"][ACC]
    assert sides["ours"] == {"mean": 21.0, "sd": pytest.approx(2**0.5), "seeds": 2}
    assert sides["paper"]["value"] == 58.1
    assert (sides["paper"]["standing"], sides["paper"]["printed"]) == ("repaired", 58.0)


@pytest.mark.parametrize("name", ["table6", None])
def test_a_run_that_the_paper_does_not_know_is_told_so(name: str | None) -> None:
    blind = cell(students={"llava": {**STUDENT, "blind": True}})
    with pytest.raises(ConfigError, match="no row that trained what a cell of this run trained"):
        beside_paper(study(blind=blind), name)


def test_an_unknown_table_is_named() -> None:
    with pytest.raises(ConfigError, match="no table 'table99' in the paper"):
        beside_paper(study(), "table99")
