"""What a cell trains with, read from its parameters, never from its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from threedrs_components.objectives.correspondence import CorrespondenceConfig
from threedrs_components.objectives.registry import objectives_told
from threedrs_components.teachers.registry import sight_of
from threedrs_components.teachers.settings import Sight
from threedrs_platform.database.measurements import flatten

NO_TEACHER = NONE = "none"
CONTROLS = ("alignment.control", "depth.control", "fusion.control", "reconstruction.control")
LAST = -1
"""How alignment calls the last layer, besides its number."""


@dataclass(frozen=True)
class Traits:
    """What decides a cell's role."""

    teacher: str | None
    """The model whose features the loss reads: a kind of teacher, or whatever features that were
    made elsewhere say of their maker. None without alignment."""
    sees: Sight | None
    """What that model learned from; None without alignment, and where nobody says it."""
    last_layer: bool
    """Whether the last layer, and no other, is aligned."""
    earlier_layer: bool
    """Whether only layers before the last are aligned; tower and projector are none."""
    correspondence: bool
    scene_losses: bool
    """Whether anything is added to the losses of the tasks."""
    fuses: bool
    """Whether the student reads a teacher's features beside its frames."""
    is_control: bool
    """Whether a content-free control stands in the place of what teaches it."""
    blind: bool
    position_encoding: bool
    trains: bool
    """Whether anything is trained; else a start is evaluated as it is."""

    @property
    def is_plain(self) -> bool:
        """Whether a student that sees learns its tasks, and nothing else."""
        return self.trains and not (self.scene_losses or self.fuses or self.blind)


def traits(params: Mapping[str, Any]) -> Traits:
    """Read a cell's parameters: an Experiment's JSON values, nested or dotted."""
    flat = flatten(params)
    student = f"students.{flat.get('student')}"
    last = {LAST, flat.get(f"{student}.micro.layers", LAST)}
    layers = set(flat.get("alignment.layers", [LAST]))
    teacher = flat.get("teacher", NO_TEACHER)
    trains = flat.get("training.steps") != 0
    active = objectives_told(flat).active(has_teacher=teacher != NO_TEACHER) if trains else ()
    aligned = any(each.reads_teacher for each in active)
    model = _model(flat, teacher)
    return Traits(
        teacher=model if aligned else None,
        sees=(flat.get(f"teachers.{teacher}.sees") or sight_of(model)) if aligned else None,
        last_layer=layers <= last,
        earlier_layer=not layers & last and all(isinstance(each, int) for each in layers),
        correspondence=any(isinstance(each, CorrespondenceConfig) for each in active),
        scene_losses=any(each.per == "scene" for each in active),
        fuses=trains and flat.get("fusion.mode", NONE) != NONE,
        is_control=any(flat.get(name, NONE) != NONE for name in CONTROLS),
        blind=bool(flat.get(f"{student}.blind", False)),
        position_encoding=bool(flat.get(f"{student}.position_encoding", False)),
        trains=trains,
    )


def _model(flat: Mapping[str, Any], teacher: str) -> str:
    """The maker of a teacher's features: itself, unless they were made elsewhere."""
    kind = flat.get(f"teachers.{teacher}.kind", teacher)
    return str(flat.get(f"teachers.{teacher}.teacher", kind))
