"""What a running submission tells those who watch it."""

from __future__ import annotations

from threedrs_platform.compute.recorder import Progress
from threedrs_platform.states import RunState
from threedrs_workflows.engine.schedule import Schedule
from threedrs_workflows.plan.plan import PlannedStep


class Observer:
    """Watches a run and shows nothing; displays override what they show.

    Called from the supervisor's thread.
    """

    def started(self, run_id: str, schedule: Schedule) -> None:
        """The run begins; the schedule can be read at any later call."""

    def step(self, step: PlannedStep, what: str, message: str = "") -> None:
        """An event of a step: started, done, reused, retry, failed, blocked, lost..."""

    def progress(self, step: PlannedStep, progress: Progress) -> None:
        """A running step has reported how far it is."""

    def warning(self, message: str) -> None:
        """A message that the user should read although the run goes on."""

    def finished(self, state: RunState) -> None:
        """The run is over, in this state."""
