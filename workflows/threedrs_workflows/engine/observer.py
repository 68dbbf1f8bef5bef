"""What a running submission tells those who watch it."""

from __future__ import annotations

from typing import Protocol

from threedrs_platform.compute.recorder import Progress
from threedrs_platform.states import RunState
from threedrs_workflows.engine.schedule import Schedule
from threedrs_workflows.plan.plan import PlannedStep


class Observer(Protocol):
    """Watches a run. Called from the supervisor's thread."""

    def started(self, run_id: str, schedule: Schedule) -> None:
        """The run begins; the schedule can be read at any later call."""
        ...

    def step(self, step: PlannedStep, what: str, message: str = "") -> None:
        """Something happened to a step: started, done, reused, retry, failed, blocked, lost..."""
        ...

    def progress(self, step: PlannedStep, progress: Progress) -> None:
        """A running step got further."""
        ...

    def warning(self, message: str) -> None:
        """The user should know this."""
        ...

    def finished(self, state: RunState) -> None:
        """The run is over."""
        ...


class Silent:
    """Watches without a word."""

    def started(self, run_id: str, schedule: Schedule) -> None:
        """Say nothing."""

    def step(self, step: PlannedStep, what: str, message: str = "") -> None:
        """Say nothing."""

    def progress(self, step: PlannedStep, progress: Progress) -> None:
        """Say nothing."""

    def warning(self, message: str) -> None:
        """Say nothing."""

    def finished(self, state: RunState) -> None:
        """Say nothing."""
