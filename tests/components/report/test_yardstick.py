"""Published weights between the paper's numbers and what was trained here."""

from __future__ import annotations

from typing import Any

from threedrs_components.report.beside_paper import beside_paper, paper_notes, paper_sheets
from threedrs_components.report.roles import Role, assign_roles
from threedrs_components.report.table import ResultTable, result_table
from threedrs_components.report.yardstick import NOTE, PRINTED, RELEASED, RETRAINED
from threedrs_platform.states import StepState
from threedrs_platform.testing.fake_results import fake_results

ACC, CIDER, EM = "scanrefer/acc@0.25", "scan2cap/cider@0.5", "sqa3d/em"


def cell(method: str | None = None, teacher: str = "none") -> dict[str, Any]:
    return {
        "scenes": {"kind": "scannet"},
        "student": "llava",
        "students": {"llava": {"kind": "llava_video", "size": "7b", "method": method}},
        "teacher": teacher,
        "teachers": {teacher: {"kind": teacher}} if teacher != "none" else {},
        "training": {"steps": 0 if method else 13944},
    }


CELLS = {
    "3DRS weights": cell("3DRS"),
    "Video-3D LLM weights": cell("Video-3D LLM"),
    "3DRS retrained": cell(teacher="vggt"),
    "baseline retrained": cell(),
}


def published(**failures: Any) -> ResultTable:
    values: dict[str, dict[int, Any]] = {
        "3DRS weights": {42: {ACC: 63.1, CIDER: 84.0, EM: 50.0}},
        "Video-3D LLM weights": {42: {ACC: 58.1}},
        "3DRS retrained": {42: {ACC: 61.0}},
        "baseline retrained": {42: {}},
    }
    return result_table(fake_results(values, CELLS, failures.get("failures"), "published"), ("*",))


def test_each_method_has_its_three_columns() -> None:
    sheets = paper_sheets(beside_paper(published(), None, (ACC, CIDER, EM)))
    assert [sheet.title.split(" (")[0] for sheet in sheets] == ["3DRS", "Video-3D LLM"]
    head = ("", PRINTED, RELEASED, RETRAINED, "released - printed", "expected")
    assert {sheet.header for sheet in sheets} == {head}
    assert sheets[0].rows == (
        (ACC, "62.9", "63.1", "61.0", "+0.2", "± 0.3: within"),
        (CIDER, "86.1", "84.0", "-", "-2.1", "± 1.0: outside"),
        (EM, "60.6", "50.0", "-", "-10.6", "± 0.3: FAULT, see notes"),
    )


def test_missing_numbers_are_missing_cells() -> None:
    broken = {("baseline retrained", 42): (StepState.FAILED, "out of memory")}
    sheet = paper_sheets(beside_paper(published(failures=broken), None, (ACC, EM)))[1]
    assert sheet.rows[0][3] == "missing (failed)"
    assert sheet.rows[1][2] == "-"
    assert sheet.rows[1][-2:] == ("-", "± 0.3")


def test_the_notes_say_what_to_expect_and_where_to_look() -> None:
    table = published()
    assert NOTE in paper_notes(beside_paper(table), table)


def test_weights_as_they_are_play_no_part_in_the_study() -> None:
    roles = assign_roles(published())
    assert roles[Role.BASELINE].title == "baseline retrained"
    assert roles[Role.TEACHER_3D].title == "3DRS retrained"
