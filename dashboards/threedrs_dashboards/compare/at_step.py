"""What the arms had logged by one step of their training: the numbers of a checkpoint.

Scores and answers are those of the student at its end. On the way a training measures its losses,
and what it makes of held-out scenes where `training.validate_every` is set.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from threedrs_dashboards.cell.curves import CurveName, Curves
from threedrs_dashboards.compare.arms import Arm
from threedrs_dashboards.tables import Table

TRAINING = "finetune"
"""Role of the step whose curves come first: the others are shared by most cells."""
OF_THE_MACHINE = ("speed/", "memory/")
"""Curves that say nothing about the student."""
MOST_STEPS = 200
"""Places of the slider."""


@dataclass(frozen=True)
class Reached:
    """One curve of one arm by a step."""

    values: Sequence[float]
    """One per seed that has logged it."""
    logged_at: int | None
    """The last step by then at which it was logged, of the seed that is furthest behind."""

    @property
    def text(self) -> str:
        """Mean ± sd over seeds; a dash before the first point."""
        if not self.values:
            return "-"
        mean = f"{statistics.fmean(self.values):.4g}"
        return f"{mean} ± {statistics.stdev(self.values):.2g}" if len(self.values) > 1 else mean


@dataclass(frozen=True)
class StepLine:
    """One curve of every arm by a step."""

    name: str
    reached: Sequence[Reached]


@dataclass(frozen=True)
class AtStep:
    """The arms at one step of their trainings."""

    step: int
    steps: Sequence[int]
    """Ascending: those that can be chosen."""
    lines: Sequence[StepLine]
    """Held-out scenes first, then losses."""

    @property
    def place(self) -> int:
        """Index of the last step that can be chosen and is not after the shown one."""
        return max(sum(each <= self.step for each in self.steps) - 1, 0)

    @property
    def is_validated(self) -> bool:
        """Whether a training has looked at held-out scenes."""
        return any(line.name.startswith("validation/") for line in self.lines)


def at_step(
    curves: Curves, arms: Sequence[Arm], names: Sequence[CurveName], seed: int | None, wanted: int
) -> AtStep | None:
    """The numbers by a step of the training; None where none of the arms has logged one.

    Args:
        names: curves of the arms.
        seed: the one that is looked at; None means all.
        wanted: a step; beyond the end it is the last one.
    """
    keys = {arm.name: _training_keys(arm, seed) for arm in arms}
    every = [key for each in keys.values() for key in each]
    steps = curves.steps(every)
    if not steps:
        return None
    step = min(wanted, steps[-1])
    found = curves.reached(every, step)
    lines = [
        StepLine(name, [_reached(found, keys[arm.name], name) for arm in arms])
        for name in _told(names)
    ]
    return AtStep(step, _thinned(steps), lines)


def _told(names: Sequence[CurveName]) -> list[str]:
    """Curves about the student: held-out scenes first, then losses."""
    told = [
        each.name
        for each in names
        if each.role == TRAINING and not each.name.startswith(OF_THE_MACHINE)
    ]
    return sorted(told, key=lambda each: (not each.startswith("validation/"), "loss" not in each))


def _reached(
    found: Mapping[tuple[str, str], tuple[int, float | None]], keys: Sequence[str], name: str
) -> Reached:
    points = [found[key, name] for key in keys if (key, name) in found]
    values = [value for _, value in points if value is not None]
    return Reached(values, min((at for at, _ in points), default=None))


def at_step_table(found: AtStep, arms: Sequence[Arm]) -> Table:
    """As it is shown, in full precision: a row per curve, arm and seed."""
    rows = [
        (line.name, arm.run.run_id, arm.title, found.step, each.logged_at,
         statistics.fmean(each.values) if each.values else None, len(each.values))
        for line in found.lines
        for arm, each in zip(arms, line.reached, strict=True)
    ]  # fmt: skip
    return Table(("curve", "run", "cell", "step", "logged_at", "mean", "seeds"), rows)


def _training_keys(arm: Arm, seed: int | None) -> list[str]:
    return [
        step.key
        for cell in arm.replicates
        if seed is None or cell.seed == seed
        for step in cell.steps
        if step.role == TRAINING
    ]


def _thinned(steps: Sequence[int]) -> list[int]:
    stride = 1 + (len(steps) - 1) // MOST_STEPS
    return sorted({*steps[::stride], steps[-1]})
