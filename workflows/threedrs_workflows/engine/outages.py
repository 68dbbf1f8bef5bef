"""A cluster that goes down under a run: what ran is given back, and the run waits for it."""

from __future__ import annotations

from threedrs_platform.compute.attempts import AttemptReport
from threedrs_platform.compute.clusters import ClusterLost
from threedrs_platform.compute.in_process import Handle
from threedrs_platform.database.events import Event
from threedrs_workflows.engine.outcomes import OutcomeHandler
from threedrs_workflows.engine.run_context import RunContext


class Outages:
    """Stands between one run and its compute."""

    def __init__(self, context: RunContext, outcomes: OutcomeHandler) -> None:
        self._run, self._outcomes = context, outcomes
        self._is_down = False

    def wait(self) -> list[tuple[Handle, AttemptReport]]:
        """Attempts that ended; none while the cluster is down.

        Raises:
            ClusterLost: it does not come back; the run can be resumed.
        """
        run = self._run
        if self._is_down:
            if run.compute.restore():
                self._is_down = False
                run.observer.warning(f"{run.compute.name} is there again")
            return []
        try:
            return run.compute.wait(run.options.poll_s if run.attempts else 0.0)
        except ClusterLost as lost:
            self._is_down = True
            self._give_back(str(lost))
            return []

    def _give_back(self, why: str) -> None:
        run = self._run
        attempts = list(run.attempts.values())

        def give_back() -> None:
            for attempt in attempts:
                del run.attempts[attempt.step.key]
                self._outcomes.handle(attempt, AttemptReport(cancelled=True, message=why))
            event = Event("cluster.lost", None, {"why": why, "attempts": len(attempts)})
            run.workspace.runs.tell(run.run_id, [event])

        run.turn(give_back)
        told = f"{len(attempts)} attempts are given back, which costs them no try"
        run.observer.warning(f"{why}; {told}; waiting for it")
