"""The cap on a run's GPU time: which steps may still start."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from threedrs_platform.database.spending import gpu_seconds
from threedrs_platform.steps import JSON
from threedrs_platform.workspace import Workspace
from threedrs_workflows.engine.feed import CellFeed
from threedrs_workflows.engine.run_context import Attempt
from threedrs_workflows.plan.plan import PlannedStep

HOUR = 3600.0


@dataclass(frozen=True)
class Budget:
    """What a run may spend, and what its steps are expected to take."""

    gpu_hours: float
    expected: Mapping[str, float] = field(default_factory=dict)
    """Seconds by name of a step, for steps of which none has run here."""

    def as_option(self) -> dict[str, JSON]:
        """As a run keeps it."""
        return {"gpu_hours": self.gpu_hours, "expected": dict(self.expected)}

    def gpu_seconds(self, step: PlannedStep) -> float:
        """GPU time that a step will take, 0 where nobody knows."""
        seconds = step.seconds if step.seconds is not None else self.expected.get(step.name, 0.0)
        return seconds * step.spec.resources.gpus


class Purse:
    """Counts what a run has spent and decides what may start; without a budget everything may."""

    def __init__(
        self, workspace: Workspace, run_id: str, budget: Budget | None, feed: CellFeed
    ) -> None:
        self._workspace, self._run_id, self.budget = workspace, run_id, budget
        self._feed = feed
        self.spent_s = 0.0
        """Of attempts that have ended."""
        self.held: set[str] = set()
        """Steps that were ready but did not fit."""

    def count(self, running: Collection[Attempt]) -> None:
        """Look up what attempts that have ended took."""
        if self.budget is not None:
            own = [attempt.claim for attempt in running]
            runs = (self._run_id, *self._feed.partners)
            self.spent_s = sum(gpu_seconds(self._workspace.database, run, own) for run in runs)

    def allows(
        self, step: PlannedStep, running: Iterable[Attempt], before: Iterable[PlannedStep]
    ) -> bool:
        """Whether a step fits beside what was spent, what runs and what starts before it."""
        if self.budget is None or not step.spec.resources.gpus:
            return True
        taken = self.spent_s + sum(map(self._of_running, running))
        taken += sum(self.budget.gpu_seconds(each) for each in before)
        cap = self.budget.gpu_hours * HOUR
        fits = taken < cap and taken + self.budget.gpu_seconds(step) <= cap
        (self.held.discard if fits else self.held.add)(step.key)
        return fits

    def _of_running(self, attempt: Attempt) -> float:
        """What an attempt took until now or is expected to take, whichever is more."""
        assert self.budget is not None
        elapsed = (time.monotonic() - attempt.began) * attempt.request.resources.gpus
        return max(elapsed, self.budget.gpu_seconds(attempt.step))
