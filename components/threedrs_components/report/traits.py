"""What a cell trains with, read from its parameters, never from its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from threedrs_platform.database.measurements import flatten

NO_TEACHER = "none"
LAST = -1
"""How alignment calls the last layer, besides its number."""


@dataclass(frozen=True)
class Traits:
    """What decides a cell's role."""

    teacher: str | None
    """Kind of the teacher whose features the loss reads; None without alignment."""
    last_layer: bool
    """Whether the last layer, and no other, is aligned."""
    earlier_layer: bool
    """Whether only layers before the last are aligned."""
    correspondence: bool
    blind: bool

    @property
    def is_plain(self) -> bool:
        """Whether nothing is added to the text and grounding losses."""
        return self.teacher is None and not self.correspondence and not self.blind


def traits(params: Mapping[str, Any]) -> Traits:
    """Read a cell's parameters: an Experiment's JSON values, nested or dotted."""
    flat = flatten(params)
    student = f"students.{flat.get('student')}"
    last = {LAST, flat.get(f"{student}.micro.layers", LAST)}
    layers = set(flat.get("alignment.layers", [LAST]))
    teacher = flat.get("teacher", NO_TEACHER)
    aligned = teacher != NO_TEACHER and flat.get("alignment.weight", 1.0) > 0
    return Traits(
        teacher=str(flat.get(f"teachers.{teacher}.kind", teacher)) if aligned else None,
        last_layer=layers <= last,
        earlier_layer=not layers & last,
        correspondence=flat.get("correspondence.weight", 0.0) > 0,
        blind=bool(flat.get(f"{student}.blind", False)),
    )
