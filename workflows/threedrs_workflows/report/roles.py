"""Which part a cell plays in the study, read from its parameters, never from its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from threedrs_workflows.report.table import ResultTable, Row

TEACHERS_3D = frozenset({"vggt", "dust3r", "mast3r", "pi3", "vggt_omega"})
"""Teacher kinds that learned from 3D geometry; every other teacher learned from 2D images."""

NO_TEACHER = "none"
LAST_LAYER = (-1,)


class Role(StrEnum):
    """Parts of the study that the findings speak about."""

    BASELINE = "baseline"
    TEACHER_3D = "3D teacher"
    TEACHER_2D = "2D teacher"
    CORRESPONDENCE = "correspondence loss"
    EARLIER_LAYER = "3D teacher at an earlier layer"
    BLIND = "blind"


@dataclass(frozen=True)
class Traits:
    """What decides a cell's role."""

    teacher: str | None
    """Kind of the teacher whose features the loss reads; None without alignment."""
    layers: tuple[int, ...]
    correspondence: bool
    blind: bool


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings to dotted keys; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in params.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{path}.")
        else:
            flat[path] = value
    return flat


def traits(params: Mapping[str, Any]) -> Traits:
    """Read a cell's parameters: an Experiment's JSON values, nested or dotted."""
    flat = flatten(params)
    layers = flat.get("alignment.layers", LAST_LAYER)
    teacher = flat.get("teacher", NO_TEACHER)
    aligned = teacher != NO_TEACHER and flat.get("alignment.weight", 1.0) > 0
    return Traits(
        teacher=str(flat.get(f"teachers.{teacher}.kind", teacher)) if aligned else None,
        layers=tuple(layers),
        correspondence=flat.get("correspondence.weight", 0.0) > 0,
        blind=bool(flat.get(f"students.{flat.get('student')}.blind", False)),
    )


def assign_roles(table: ResultTable) -> dict[Role, Row]:
    """The row that plays each part; parts nobody plays are absent. The first candidate wins."""
    found: dict[Role, Row] = {}
    for row in table.rows:
        for role in _roles(traits(row.replicates[0].params), row.cell_id == table.baseline):
            found.setdefault(role, row)
    return found


def _roles(cell: Traits, is_baseline: bool) -> Iterator[Role]:
    if cell.blind:
        yield Role.BLIND
    elif is_baseline and cell.teacher is None:
        yield Role.BASELINE
    elif cell.correspondence and cell.teacher is None:
        yield Role.CORRESPONDENCE
    elif cell.teacher in TEACHERS_3D and not cell.correspondence:
        yield Role.TEACHER_3D if cell.layers == LAST_LAYER else Role.EARLIER_LAYER
    elif cell.teacher is not None and not cell.correspondence:
        yield Role.TEACHER_2D
