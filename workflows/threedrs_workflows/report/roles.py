"""Which part a cell plays in the study, read from its parameters, never from its name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from threedrs_workflows.report.table import ResultTable, Row

TEACHERS_3D = frozenset({"vggt", "dust3r", "mast3r", "pi3", "vggt_omega"})
"""Teacher kinds that learned from 3D geometry; every other teacher learned from 2D images."""


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
    """Read a cell's parameters, nested or dotted."""
    flat = flatten(params)
    aligned = bool(_first(flat, "alignment.weight", 1.0))
    kind = _first(flat, "teacher.kind", _first(flat, "teacher", None))
    layers = _first(flat, "alignment.layers", (-1,))
    return Traits(
        teacher=str(kind) if aligned and kind not in (None, "none") else None,
        layers=tuple(layers) if isinstance(layers, Sequence) else (int(layers),),
        correspondence=bool(_first(flat, "correspondence.weight", 0.0)),
        blind=bool(_first(flat, "student.blind", False)),
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
        yield Role.TEACHER_3D if cell.layers == (-1,) else Role.EARLIER_LAYER
    elif cell.teacher is not None and not cell.correspondence:
        yield Role.TEACHER_2D


def _first(flat: Mapping[str, Any], path: str, default: Any) -> Any:
    """Value of the key that is, or ends in, this path."""
    for key, value in flat.items():
        if (key == path or key.endswith(f".{path}")) and value is not None:
            return value
    return default
