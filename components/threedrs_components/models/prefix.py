"""A student that remembers the frames it ran through last: the next question needs no new prefix.

Every question leaves the prefix as it was (see `training.prediction.Continuation`), so answers are
the same as of a student that runs through the frames again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any, cast

from torch import Tensor

from threedrs_components.students.passes import Frames, Prefill
from threedrs_components.students.places import Place
from threedrs_components.students.student import Student


def remembering(student: Student) -> Student:
    """The same student; whatever but the prefix is asked of it, it does itself."""
    return cast(Student, _Remembering(student))


class _Remembering:
    """Stands before a student, and answers `prefill` for frames that it has just seen."""

    def __init__(self, student: Student) -> None:
        self._student = student
        self._seen: tuple[Frames, tuple[Place, ...], Prefill] | None = None
        self.runs = 0
        """Prefixes that were run, not remembered."""

    def prefill(self, frames: Frames, layers: Sequence[Place] = (-1,)) -> Prefill:
        """As `Student.prefill`."""
        if self._seen is not None:
            seen, places, prefill = self._seen
            if places == tuple(layers) and _same(seen, frames):
                return prefill
        self._seen = None  # two prefixes need not fit into memory
        prefill = self._student.prefill(frames, layers)
        self._seen = (frames, tuple(layers), prefill)
        self.runs += 1
        return prefill

    def __getattr__(self, name: str) -> Any:
        return getattr(self._student, name)


def _same(one: Frames, other: Frames) -> bool:
    return all(_equal(getattr(one, each.name), getattr(other, each.name)) for each in fields(one))


def _equal(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.shape == other.shape and bool((one == other).all())
