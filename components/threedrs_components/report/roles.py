"""Which part a cell plays in the study."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from threedrs_components.report.table import ResultTable, Row
from threedrs_components.report.traits import Traits


class Role(StrEnum):
    """Parts of the study that the findings speak about."""

    BASELINE = "baseline"
    TEACHER_3D = "3D teacher"
    TEACHER_2D = "2D teacher"
    CORRESPONDENCE = "correspondence loss"
    EARLIER_LAYER = "3D teacher at an earlier layer"
    BLIND = "blind"


def assign_roles(table: ResultTable) -> dict[Role, Row]:
    """The row that plays each part; parts nobody plays are absent. The first candidate wins."""
    found: dict[Role, Row] = {}
    for row in table.rows:
        for role in _roles(row.traits, row.cell_id == table.baseline):
            found.setdefault(role, row)
    return found


def _roles(cell: Traits, is_baseline: bool) -> Iterator[Role]:
    if not cell.trains or cell.fuses or cell.is_control:
        return
    if cell.blind:
        yield Role.BLIND
    elif is_baseline and cell.teacher is None:
        yield Role.BASELINE
    elif cell.correspondence and cell.teacher is None:
        yield Role.CORRESPONDENCE
    elif cell.sees == "3d" and not cell.correspondence:
        if cell.last_layer or cell.earlier_layer:
            yield Role.TEACHER_3D if cell.last_layer else Role.EARLIER_LAYER
    elif cell.sees == "2d" and not cell.correspondence:
        yield Role.TEACHER_2D
