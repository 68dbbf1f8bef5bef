"""A worker: claims the steps of a run that are for it, beside workers on other machines.

Nobody owns such a run. What is done, failed or held is in the journal, and every worker follows it;
the one that finds everything final writes how the run ended.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import partial

from threedrs_platform.database.runs import WORKERS
from threedrs_platform.states import RunState, StepState
from threedrs_workflows.engine.heartbeat import RENEWALS_PER_LEASE
from threedrs_workflows.engine.run_context import RunContext
from threedrs_workflows.engine.schedule import Phase
from threedrs_workflows.engine.supervisor import RunLoop, Supervisor
from threedrs_workflows.plan.plan import Plan, PlannedStep


@dataclass(frozen=True)
class Share:
    """Which steps a worker takes, and how long it stays."""

    kinds: Collection[str] | None = None
    """Kinds of steps; None = all."""
    gpus: float | None = None
    """Most GPUs of a step; None = as many as it asks for."""
    cpus: float | None = None
    """Most CPUs of a step; None = as many as it asks for."""
    memory_gib: float | None = None
    """Most memory of a step; None = as much as it asks for."""
    max_idle_s: float | None = None
    """Longest wait for steps that others have to finish first; None = for ever."""
    max_time_s: float | None = None
    """After that it stops as if it were interrupted."""

    def takes(self, step: PlannedStep) -> bool:
        """Whether a step is for this worker."""
        wanted = step.spec.resources
        return (
            (self.kinds is None or step.spec.kind in self.kinds)
            and (self.gpus is None or wanted.gpus <= self.gpus)
            and (self.cpus is None or wanted.cpus <= self.cpus)
            and (self.memory_gib is None or (wanted.memory_gib or 0.0) <= self.memory_gib)
        )


@dataclass
class Worker(Supervisor):
    """Works on a share of one run.

    Its outcome is the run's: RUNNING where others still work or have to, INTERRUPTED where it was
    stopped itself.
    """

    share: Share = field(default_factory=Share)
    was_idle: bool = False
    """Whether it left because it had waited too long."""
    wrote_the_end: bool = False
    """Whether it was the one that found everything final."""
    outcome: RunState | None = None
    """How its part ended."""

    def loop(self, context: RunContext, plan: Plan) -> RunLoop:
        """What works on the share."""
        context.takes = self.share.takes
        return _WorkerLoop(self, context, plan)


class _WorkerLoop(RunLoop):
    def __init__(self, worker: Worker, context: RunContext, plan: Plan) -> None:
        super().__init__(context, plan, worker.stop, worker.budget)
        self._worker, self._share = worker, worker.share
        self._began = self._busy_at = time.monotonic()
        self._joins_at = 0.0
        self._ended_elsewhere: RunState | None = None

    def _start_run(self) -> None:
        self._join()

    def _join(self) -> None:
        """Tell from time to time that the run is worked on; see whether somebody has ended it."""
        run, runs = self._run, self._run.workspace.runs
        if time.monotonic() >= self._joins_at:
            runs.join(run.run_id, run.options.lease_s)
            self._joins_at = time.monotonic() + run.options.lease_s / RENEWALS_PER_LEASE
        state = runs.get(run.run_id).state
        self._ended_elsewhere = None if state is RunState.RUNNING else state

    def _begin(self) -> None:
        super()._begin()
        self._follow()

    def _look_around(self) -> None:
        super()._look_around()
        self._join()
        run = self._run
        if self._ended_elsewhere is RunState.CANCELLED:
            whole = list(run.schedule.cells)
            run.turn(partial(run.drop, whole, "cancelled", StepState.CANCELLED))
        elif self._ended_elsewhere is not None:
            run.comes_to_rest = True
        self._purse.count(run.attempts.values())
        self._follow()
        if self._share.max_time_s is not None and self._age_s >= self._share.max_time_s:
            self._stop.set()

    @property
    def _age_s(self) -> float:
        return time.monotonic() - self._began

    def _follow(self) -> None:
        """Take over what others did with steps that are not for this worker."""
        run = self._run
        while True:
            others = [
                key
                for key, step in run.schedule.steps.items()
                if run.schedule.phase(key) is Phase.READY and not run.takes(step)
            ]
            if not others or not self._follow_steps(others):
                return

    def _follow_steps(self, keys: list[str]) -> bool:
        news = False

        def follow() -> None:
            nonlocal news
            news = self._launcher.follow(keys)

        self._run.turn(follow)
        return news

    @property
    def _is_finished(self) -> bool:
        """Whether nothing is left that this worker could do."""
        run = self._run
        return super()._is_finished or not (
            run.attempts
            or any(
                not run.schedule.phase(key).is_final and run.takes(step)
                for key, step in run.schedule.steps.items()
            )
        )

    def _rest(self) -> RunState | None:
        state = super()._rest()
        if state is not None:
            return self._ended_elsewhere or state
        return RunState.RUNNING if self._idles_too_long() else None

    def _idles_too_long(self) -> bool:
        run = self._run
        if run.attempts or self._launcher.startable():
            self._busy_at = time.monotonic()
            return False
        waited_s, most_s = time.monotonic() - self._busy_at, self._share.max_idle_s
        self._worker.was_idle = most_s is not None and waited_s >= most_s
        return self._worker.was_idle

    def _outcome(self) -> RunState:
        self._follow()
        schedule = self._run.schedule
        return super()._outcome() if schedule.is_finished else RunState.RUNNING

    def _finish_run(self, state: RunState, counts: dict[str, int]) -> None:
        """Write how the run ended, if it did; of several workers that find so, the first."""
        self._worker.outcome = state
        if state not in (RunState.RUNNING, RunState.INTERRUPTED):
            runs, run_id = self._run.workspace.runs, self._run.run_id
            self._worker.wrote_the_end = runs.finish(run_id, WORKERS, state, {"steps": counts})
