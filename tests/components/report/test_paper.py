"""Cells find their rows in the paper by what they train with."""

from __future__ import annotations

from typing import Any

import pytest

from threedrs_components.paper.tables import paper_table
from threedrs_components.report.paper import paper_row, trained


def _params(**changes: Any) -> dict[str, Any]:
    students = {"llava": {"kind": "llava_video", "size": "micro", "micro": {"layers": 3}}}
    plain = {"student": "llava", "students": students, "teacher": "none"}
    return {**plain, "correspondence": {"weight": 0.0}, **changes}


VGGT = {"teacher": "vggt", "teachers": {"vggt": {"kind": "vggt"}}}


def _precomputed(**said: str) -> dict[str, Any]:
    return {"teacher": "files", "teachers": {"files": {"kind": "precomputed", **said}}}


@pytest.mark.parametrize(
    ("table", "changes", "method"),
    [
        ("table1", {}, "Video-3D LLM"),
        ("table1", VGGT, "3DRS"),
        ("table1", {**VGGT, "alignment": {"layers": [3], "weight": 1.0}}, "3DRS"),
        ("table6", {**VGGT, "alignment": {"layers": [-3]}}, "3rd Last Layer"),
        ("table6", {**VGGT, "alignment": {"layers": [1]}}, "3rd Last Layer"),
        ("table6", {**VGGT, "alignment": {"layers": [2]}}, None),
        ("table5", {"correspondence": {"weight": 1.0}}, "w/ Correspondence Loss"),
        ("table13", {**VGGT, "alignment": {"loss": "euclidean"}}, "Euclidean loss"),
        ("table1", {**VGGT, "alignment": {"weight": 0.0}}, "Video-3D LLM"),
        ("table4", _precomputed(teacher="vggt"), "VGGT"),
        ("table4", _precomputed(teacher="mae"), "MAE"),
        ("table4", _precomputed(teacher="vggt", sees="nothing"), None),
        ("table4", _precomputed(teacher="fast3r", sees="3d"), None),
        ("table4", {"teacher": "rgb", "teachers": {"rgb": {"kind": "rgb"}}}, None),
        ("table1", {"students": {"llava": {"kind": "llava_video", "blind": True}}}, None),
        ("table1", {"students": {"llava": {"kind": "another"}}}, None),
    ],
)
def test_a_cell_finds_its_row(table: str, changes: dict[str, Any], method: str | None) -> None:
    row = paper_row(paper_table(table), trained(_params(**changes)))
    assert (row and row.method) == method
