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
        ("table6", {**VGGT, "alignment": {"layers": ["tower", 3]}}, None),
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


@pytest.mark.parametrize(
    ("method", "steps", "found"),
    [
        ("3DRS", 0, "3DRS"),
        ("Video-3D LLM", 0, "Video-3D LLM"),
        ("Ross3D", 0, None),
        (None, 0, None),
        ("3DRS", 100, None),
    ],
)
def test_published_weights_stand_beside_their_own_method(
    method: str | None, steps: int, found: str | None
) -> None:
    """Trained further they are no row of the paper; nobody's weights untrained are none either."""
    students = {"llava": {"kind": "llava_video", "size": "7b", "method": method}}
    params = _params(students=students, training={"steps": steps})
    row = paper_row(paper_table("table1"), trained(params))
    assert (row and row.method) == found
