"""Which row of the paper's tables trained with what a cell of ours trains with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from threedrs_components.paper.tables import PaperRow, PaperTable, Setting
from threedrs_components.report.traits import LAST, NO_TEACHER, traits
from threedrs_platform.measurements import flatten


def paper_row(table: PaperTable, params: Mapping[str, Any]) -> PaperRow | None:
    """The row with a cell's student, teacher, losses and aligned layers; None if there is none.

    Args:
        params: of the cell, an Experiment's JSON values.
    """
    rows = (row for row in table.rows if row.setting and _agrees(row.setting, params))
    return next(rows, None)


def _agrees(setting: Setting, params: Mapping[str, Any]) -> bool:
    flat, mine = flatten(params), traits(params)
    if mine.blind or setting.student != flat.get(f"students.{flat.get('student')}.kind"):
        return False
    if (mine.teacher or NO_TEACHER) != setting.teacher:
        return False
    if mine.correspondence != setting.correspondence:
        return False
    if setting.loss is not None and setting.loss != flat.get("alignment.loss"):
        return False
    return setting.layers is None or set(setting.layers) == _layers_from_the_end(flat)


def _layers_from_the_end(flat: Mapping[str, Any]) -> set[int]:
    """Aligned layers, the last being -1; the depth of micro students is known."""
    student = f"students.{flat.get('student')}"
    is_micro = flat.get(f"{student}.size") == "micro"
    depth = flat.get(f"{student}.micro.layers") if is_micro else None
    layers = flat.get("alignment.layers", [LAST])
    return {each - depth - 1 if each > 0 and depth else each for each in layers}
