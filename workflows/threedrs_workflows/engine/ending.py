"""Whose a run is, and when and how it ends, for the one supervisor that has it for itself."""

from __future__ import annotations

from threedrs_platform.states import RunState
from threedrs_workflows.engine.budget import Purse
from threedrs_workflows.engine.run_context import RunContext
from threedrs_workflows.engine.schedule import Phase


class Ending:
    """Begins and ends the work on one run."""

    def __init__(self, context: RunContext, purse: Purse) -> None:
        self._run, self._purse = context, purse

    def start(self) -> None:
        """Become the run's supervisor.

        Raises:
            ConflictError: another live supervisor has it.
        """
        run = self._run
        owner = run.workspace.journal.owner
        run.workspace.runs.start(run.run_id, owner, run.options.lease_s)

    @property
    def is_reached(self) -> bool:
        """Whether nothing is left to do."""
        return self._run.schedule.is_finished and self._run.feed.is_over

    def outcome(self) -> RunState:
        """The run's state, now that nothing is left to do."""
        return self._run.feed.outcome(self._run.schedule.outcome())

    def rest(self) -> RunState | None:
        """Why the run stops here although steps are left; None if it goes on."""
        run = self._run
        if self._is_out_of_budget:
            return RunState.PAUSED
        if not run.comes_to_rest or run.attempts:
            return None
        return RunState.PARTIAL if run.failed_too_often else RunState.PAUSED

    def write(self, state: RunState) -> None:
        """Write the state of the run and give it up."""
        run = self._run
        counts = {str(phase): count for phase, count in run.schedule.counts().items()}
        owner = run.workspace.journal.owner
        run.workspace.runs.finish(run.run_id, owner, state, {"steps": counts})

    @property
    def _is_out_of_budget(self) -> bool:
        """Whether nothing runs, here or elsewhere, and no ready step fits into the budget."""
        run, held = self._run, self._purse.held
        if run.attempts or not held:
            return False
        ready = list(run.ready())
        if not ready or not held.issuperset(ready):
            return False
        return not run.schedule.counts()[Phase.ELSEWHERE]
