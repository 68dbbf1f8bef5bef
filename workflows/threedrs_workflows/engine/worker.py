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
from threedrs_workflows.engine.budget import Purse
from threedrs_workflows.engine.ending import Ending
from threedrs_workflows.engine.heartbeat import RENEWALS_PER_LEASE
from threedrs_workflows.engine.launching import StepLauncher
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
    nodes: int = 1
    """Most machines of a step: those whose processes work together with this one."""
    least_nodes: int = 1
    """Fewest machines of a step: what needs fewer would leave the others idle."""
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
            and self.least_nodes <= wanted.nodes <= self.nodes
            and (wanted.workers == 1 or wanted.workers % self.nodes == 0)
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
        self._worker = worker
        self._shared = self._ending = _SharedEnding(worker, context, self._purse, self._launcher)

    def _begin(self) -> None:
        super()._begin()
        self._shared.follow()

    def _look_around(self) -> None:
        super()._look_around()
        self._purse.count(self._run.attempts.values())
        self._shared.join()
        self._shared.follow()
        if self._shared.is_out_of_time:
            self._stop.set()


class _SharedEnding(Ending):
    def __init__(
        self, worker: Worker, context: RunContext, purse: Purse, launcher: StepLauncher
    ) -> None:
        super().__init__(context, purse)
        self._worker, self._share, self._launcher = worker, worker.share, launcher
        self._began = self._busy_at = time.monotonic()
        self._joins_at = 0.0
        self._ended_elsewhere: RunState | None = None

    def start(self) -> None:
        """Join the run."""
        self.join()

    def join(self) -> None:
        """Tell from time to time that the run is worked on; come to rest if somebody ended it."""
        run, runs = self._run, self._run.workspace.runs
        if time.monotonic() >= self._joins_at:
            runs.join(run.run_id, run.options.lease_s)
            self._joins_at = time.monotonic() + run.options.lease_s / RENEWALS_PER_LEASE
        state = runs.get(run.run_id).state
        self._ended_elsewhere = None if state is RunState.RUNNING else state
        if state is RunState.CANCELLED:
            whole = list(run.schedule.cells)
            run.turn(partial(run.drop, whole, "cancelled", StepState.CANCELLED))
        elif state is not RunState.RUNNING:
            run.comes_to_rest = True

    def follow(self) -> None:
        """Take over what others did with steps that are not for this worker."""
        run, news = self._run, True
        while news:
            others = [
                key
                for key, step in run.schedule.steps.items()
                if run.schedule.phase(key) is Phase.READY and not run.takes(step)
            ]
            news = bool(others) and self._follow_steps(others)

    def _follow_steps(self, keys: list[str]) -> bool:
        news = False

        def follow() -> None:
            nonlocal news
            news = self._launcher.follow(keys)

        self._run.turn(follow)
        return news

    @property
    def is_out_of_time(self) -> bool:
        """Whether the worker has stayed as long as it may."""
        most_s = self._share.max_time_s
        return most_s is not None and time.monotonic() - self._began >= most_s

    @property
    def is_reached(self) -> bool:
        """Whether nothing is left that this worker could do."""
        run = self._run
        return super().is_reached or not (
            run.attempts
            or any(
                not run.schedule.phase(key).is_final and run.takes(step)
                for key, step in run.schedule.steps.items()
            )
        )

    def outcome(self) -> RunState:
        """The run's state, RUNNING where others have something left to do."""
        self.follow()
        schedule = self._run.schedule
        return super().outcome() if schedule.is_finished else RunState.RUNNING

    def rest(self) -> RunState | None:
        """Why the worker leaves although it has steps left."""
        state = super().rest()
        if state is not None and not self._run.comes_to_rest and self._others_have_work():
            return RunState.RUNNING  # its own steps do not fit into the budget; theirs may
        if state is not None:
            return self._ended_elsewhere or state
        return RunState.RUNNING if self._idles_too_long() else None

    def _others_have_work(self) -> bool:
        schedule = self._run.schedule
        return any(
            schedule.phase(key) is Phase.READY and not self._run.takes(step)
            for key, step in schedule.steps.items()
        )

    def _idles_too_long(self) -> bool:
        if self._run.attempts or self._launcher.startable():
            self._busy_at = time.monotonic()
            return False
        waited_s, most_s = time.monotonic() - self._busy_at, self._share.max_idle_s
        self._worker.was_idle = most_s is not None and waited_s >= most_s
        return self._worker.was_idle

    def write(self, state: RunState) -> None:
        """Write how the run ended, if it did; of several workers that find so, the first."""
        run, self._worker.outcome = self._run, state
        if state not in (RunState.RUNNING, RunState.INTERRUPTED):
            counts = {str(phase): count for phase, count in run.schedule.counts().items()}
            finish = run.workspace.runs.finish
            self._worker.wrote_the_end = finish(run.run_id, WORKERS, state, {"steps": counts})
