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
class SeedPoint:
    """The last point of one curve by a step, under one seed."""

    seed: int
    logged_at: int | None = None
    """Training step of the point; None before the first one."""
    value: float | None = None
    """None before the first point, and where it was not finite."""

    @property
    def has_diverged(self) -> bool:
        """Whether the point is not finite."""
        return self.logged_at is not None and self.value is None

    @property
    def text(self) -> str:
        """The value and its step."""
        if self.logged_at is None:
            return f"seed {self.seed}: none"
        value = "diverged" if self.value is None else f"{self.value:.4g}"
        return f"seed {self.seed}: {value} of step {self.logged_at}"


@dataclass(frozen=True)
class Reached:
    """One curve of one arm by a step."""

    seeds: Sequence[SeedPoint]
    """Of every seed that is looked at and has a training."""

    @property
    def logged_at(self) -> int | None:
        """The last step by then at which any seed has logged it."""
        return max(
            (each.logged_at for each in self.seeds if each.logged_at is not None), default=None
        )

    @property
    def values(self) -> Sequence[float]:
        """Finite ones of the seeds that are furthest."""
        at = self.logged_at
        return [
            each.value for each in self.seeds if each.value is not None and each.logged_at == at
        ]

    @property
    def is_whole(self) -> bool:
        """Whether all seeds have a value at the same step: else a mean would be bent."""
        return len(self.values) == len(self.seeds)

    @property
    def text(self) -> str:
        """Mean ± sd where all seeds have a value at the same step; else how many seeds have."""
        count, diverged = len(self.seeds), sum(each.has_diverged for each in self.seeds)
        if self.logged_at is None:
            return "-"
        if diverged:
            return f"{diverged} of {count} seeds diverged" if count > 1 else "diverged"
        if not self.is_whole:
            return f"{len(self.values)} of {count} seeds"
        mean = f"{statistics.fmean(self.values):.4g}"
        return f"{mean} ± {statistics.stdev(self.values):.2g}" if count > 1 else mean

    def notes(self, step: int) -> list[str]:
        """What to say below: each seed's own point where there is no mean; else an earlier step.

        Args:
            step: that is looked at.
        """
        if self.logged_at is None:
            return []
        if not self.is_whole and len(self.seeds) > 1:
            return [each.text for each in self.seeds]
        return [f"of step {self.logged_at}"] if self.logged_at != step else []


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
    every = [key for each in keys.values() for _, key in each]
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
    found: Mapping[tuple[str, str], tuple[int, float | None]],
    keys: Sequence[tuple[int, str]],
    name: str,
) -> Reached:
    points = []
    for seed, key in keys:
        logged_at, value = found.get((key, name), (None, None))
        points.append(SeedPoint(seed, logged_at, value))
    return Reached(points)


def at_step_table(found: AtStep, arms: Sequence[Arm]) -> Table:
    """Every seed's own point, in full precision: a row per curve, arm and seed."""
    rows = [
        (line.name, arm.run.run_id, arm.title, each.seed, found.step, each.logged_at, each.value)
        for line in found.lines
        for arm, reached in zip(arms, line.reached, strict=True)
        for each in reached.seeds
    ]
    return Table(("curve", "run", "cell", "seed", "step", "logged_at", "value"), rows)


def _training_keys(arm: Arm, seed: int | None) -> list[tuple[int, str]]:
    """Seed and key of each training."""
    return [
        (cell.seed, step.key)
        for cell in arm.replicates
        if seed is None or cell.seed == seed
        for step in cell.steps
        if step.role == TRAINING
    ]


def _thinned(steps: Sequence[int]) -> list[int]:
    stride = 1 + (len(steps) - 1) // MOST_STEPS
    return sorted({*steps[::stride], steps[-1]})
