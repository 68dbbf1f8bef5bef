"""Which row of the paper's tables trained with what a cell of ours trains with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from threedrs_components.paper.tables import PaperRow, PaperTable, Setting
from threedrs_components.report.traits import LAST, NO_TEACHER, traits
from threedrs_components.teachers.registry import sight_of
from threedrs_components.teachers.settings import Sight
from threedrs_platform.database.measurements import flatten


@dataclass(frozen=True)
class Trained:
    """What a cell trains with, in the terms of the paper's rows."""

    student: str
    teacher: str
    sees: Sight | None
    correspondence: bool
    layers: frozenset[int | str]
    """Aligned layers, the last being -1."""
    loss: str
    blind: bool
    trains: bool = True
    """Whether anything is trained; else the start is evaluated as it is."""
    method: str | None = None
    """Whose published weights it starts from, where the settings say so."""


def trained(params: Mapping[str, Any]) -> Trained:
    """Read a cell's parameters: an Experiment's JSON values."""
    flat = flatten(params)
    mine = traits(flat)
    student = f"students.{flat.get('student')}"
    return Trained(
        student=str(flat.get(f"{student}.kind")),
        teacher=mine.teacher or NO_TEACHER,
        sees=mine.sees,
        correspondence=mine.correspondence,
        layers=_layers_from_the_end(flat, student),
        loss=str(flat.get("alignment.loss")),
        blind=mine.blind,
        trains=mine.trains,
        method=flat.get(f"{student}.method"),
    )


def paper_row(table: PaperTable, mine: Trained) -> PaperRow | None:
    """The row with a cell's student, teacher, losses and aligned layers, or of the method whose
    published weights it evaluates; None if there is none."""
    if not mine.trains or mine.method:
        named = (row for row in table.rows if row.method == mine.method and not mine.trains)
        return next(named, None)
    rows = (row for row in table.rows if row.setting and _agrees(row.setting, mine))
    return next(rows, None)


def _agrees(setting: Setting, mine: Trained) -> bool:
    same = (setting.student, setting.teacher, setting.correspondence)
    if mine.blind or same != (mine.student, mine.teacher, mine.correspondence):
        return False
    if mine.sees != sight_of(setting.teacher):
        return False  # features that bear the teacher's name, and are said to be something else
    if setting.loss is not None and setting.loss != mine.loss:
        return False
    return setting.layers is None or frozenset(setting.layers) == mine.layers


def _layers_from_the_end(flat: Mapping[str, Any], student: str) -> frozenset[int | str]:
    """The depth of micro students is known; layers of others, and places that are none, are taken
    as they are."""
    depth = flat.get(f"{student}.micro.layers") if flat.get(f"{student}.size") == "micro" else None
    layers = flat.get("alignment.layers", [LAST])
    numbered = (each for each in layers if isinstance(each, int))
    counted = {each - depth - 1 if each > 0 and depth else each for each in numbered}
    return frozenset({*counted, *(each for each in layers if isinstance(each, str))})
