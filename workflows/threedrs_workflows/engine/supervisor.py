"""Runs a plan to its end: claims steps, executes them, commits or retries, and tells the journal.

One thread decides; a second one only renews leases. Several supervisors may work on one journal:
a step that another one holds is waited for, and its result adopted.

All that happens in one turn is one transaction. Attempts begin after it, so nothing ever runs
without a claim that is written down.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from threedrs_platform.compute.in_process import Compute
from threedrs_platform.database.retention import scratch_folders
from threedrs_platform.states import RunState, StepState
from threedrs_platform.workspace import Workspace
from threedrs_workflows.engine.budget import Budget, Purse
from threedrs_workflows.engine.feed import CellFeed
from threedrs_workflows.engine.heartbeat import Heartbeat
from threedrs_workflows.engine.launching import StepLauncher
from threedrs_workflows.engine.observer import Observer
from threedrs_workflows.engine.outages import Outages
from threedrs_workflows.engine.outcomes import OutcomeHandler
from threedrs_workflows.engine.retries import RetryPolicy
from threedrs_workflows.engine.run_context import RunContext, ScratchCleaner, SupervisorOptions
from threedrs_workflows.engine.schedule import Phase, Schedule
from threedrs_workflows.plan.plan import Plan


@dataclass
class Supervisor:
    """Works on one run at a time."""

    workspace: Workspace
    compute: Compute
    options: SupervisorOptions = field(default_factory=SupervisorOptions)
    observer: Observer = field(default_factory=Observer)
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    stop: threading.Event = field(default_factory=threading.Event)
    """Set it to interrupt the run; it can be resumed."""
    tally: Counter[str] = field(default_factory=Counter)
    """How often each thing happened to a step: done, reused, retry, failed, ..."""
    feed: CellFeed = field(default_factory=CellFeed)
    """Where more cells come from while the run goes on."""
    budget: Budget | None = None
    """What the run may spend; it pauses when no further step fits."""

    def run(self, run_id: str, plan: Plan) -> RunState:
        """Work until every step is done, failed or blocked, or until `stop` is set.

        Raises:
            ConflictError: another live supervisor works on this run.
            StorageError: storage or database became unusable; the run can be resumed.
        """
        context = RunContext(
            run_id=run_id,
            workspace=self.workspace,
            compute=self.compute,
            options=self.options,
            observer=self.observer,
            retries=self.retries,
            schedule=Schedule(plan),
            tally=self.tally,
            cleaner=ScratchCleaner(),
            feed=self.feed,
        )
        try:
            return _RunLoop(context, plan, self.stop, self.budget).work()
        finally:
            context.cleaner.close()


class _RunLoop:
    """Works on one run, from the first look at its plan to the last word in the journal."""

    def __init__(
        self, context: RunContext, plan: Plan, stop: threading.Event, budget: Budget | None
    ) -> None:
        self._run, self._plan, self._stop = context, plan, stop
        self._purse = Purse(context.workspace, context.run_id, budget)
        self._launcher = StepLauncher(context, self._purse)
        self._outcomes = OutcomeHandler(context)
        self._outages = Outages(context, self._outcomes)
        self._next_look = 0.0

    def work(self) -> RunState:
        """Start the run, turn until it is finished or stopped, and write its state."""
        run, journal = self._run, self._run.workspace.journal
        run.workspace.runs.start(run.run_id, journal.owner, run.options.lease_s)
        state = RunState.INTERRUPTED
        try:
            with Heartbeat(journal, run.options.lease_s):
                self._begin()
                while not self._is_finished and not self._stop.is_set():
                    self._turn()
                    if self._is_out_of_budget:
                        state = RunState.PAUSED
                        break
                if self._is_finished:
                    state = run.schedule.outcome()
        finally:
            self._end(state)
        return state

    @property
    def _is_finished(self) -> bool:
        return self._run.schedule.is_finished and self._run.feed.is_over

    @property
    def _is_out_of_budget(self) -> bool:
        """Whether nothing runs, here or elsewhere, and no ready step fits into the budget."""
        schedule = self._run.schedule
        ready = schedule.ready()
        if self._run.attempts or not ready or not self._purse.held.issuperset(ready):
            return False
        return not schedule.counts()[Phase.ELSEWHERE]

    def _begin(self) -> None:
        """Take over what the plan found done, and show the run."""
        run, schedule = self._run, self._run.schedule
        self._take_over(self._plan)
        for folder in scratch_folders(run.workspace.root / "scratch"):
            if folder.name in schedule.digests:  # a supervisor died after its commit
                run.cleaner.remove(folder)
        self._purse.count(())
        run.observer.started(run.run_id, schedule)

    def _take_over(self, plan: Plan) -> None:
        """Write down what a plan found done, and the cells that it completes."""
        run, schedule = self._run, self._run.schedule
        with run.workspace.database.write():
            for step in plan.steps:
                if step.hit and step.twin is not None:
                    inputs = schedule.inputs(step.key)
                    run.workspace.journal.adopt(
                        run.run_id, step.key, step.twin, inputs, reason=step.reason
                    )
            done = [cell for cell in plan.links if schedule.cells[cell] is StepState.SUCCEEDED]
            run.workspace.runs.finish_cells(run.run_id, done, StepState.SUCCEEDED)

    def _take_in(self) -> None:
        """Give up cells that show no promise, and take in the ones that come instead."""
        run = self._run
        for cell, why in run.feed.given_up().items():
            run.drop([cell], why, StepState.CANCELLED)
        plan = run.feed.more(run.schedule)
        if plan is not None:
            run.schedule.add(plan)
            self._take_over(plan)

    def _turn(self) -> None:
        """One round: take what ended, look around now and then, start what can start."""
        run = self._run
        self._take_in()
        ended = self._outages.wait()
        if time.monotonic() >= self._next_look:
            self._look_around()
        if ended or self._launcher.startable():
            with run.workspace.database.write():
                for handle, report in ended:
                    attempt = run.attempts.get(handle.step_key)
                    if attempt is not None and attempt.handle == handle:
                        del run.attempts[handle.step_key]
                        self._outcomes.handle(attempt, report)
                    # else it timed out before, and nobody waits for it any more
                if ended:
                    self._purse.count(run.attempts.values())
                self._start()
            self._launcher.submit()  # only now: nothing may run without a claim that is committed
        self._outcomes.check_storage()
        if not run.attempts and not run.schedule.is_finished:
            self._stop.wait(0 if self._launcher.startable() else run.options.poll_s)

    def _start(self) -> None:
        """Start steps until there is no room or none is ready; reusing one may ready others."""
        while not self._outcomes.out_of_storage:
            keys = self._launcher.startable()
            if not keys:
                return
            self._launcher.launch(keys)

    def _look_around(self) -> None:
        """Progress of running steps, time limits, cancellations, other supervisors."""
        run = self._run
        self._next_look = time.monotonic() + run.options.poll_s
        for attempt in list(run.attempts.values()):
            run.show_progress(attempt)
            if attempt.deadline is not None and time.monotonic() > attempt.deadline:
                self._outcomes.time_out(attempt)
        whole, cells = run.workspace.runs.cancelled(run.run_id)
        if whole:
            run.feed.close()
        if whole or cells:
            chosen = list(run.schedule.cells) if whole else sorted(cells, key=lambda c: c.cell_id)
            run.drop(chosen, "cancelled", StepState.CANCELLED)
        elsewhere = [k for k in run.schedule.steps if run.schedule.phase(k) is Phase.ELSEWHERE]
        for key, row in run.workspace.journal.rows(elsewhere).items():
            if row.state is not StepState.RUNNING or row.is_abandoned:
                run.schedule.set(key, Phase.READY)

    def _end(self, state: RunState) -> None:
        """Stop what runs, give its claims back, and write the state of the run."""
        run, journal = self._run, self._run.workspace.journal
        claims = [attempt.claim for attempt in run.attempts.values()]
        if claims:
            run.compute.close()  # first: a claim given back while its attempt runs would run twice
            journal.release(run.run_id, claims, "interrupted")
        counts = {str(phase): count for phase, count in run.schedule.counts().items()}
        run.workspace.runs.finish(run.run_id, journal.owner, state, {"steps": counts})
        run.observer.finished(state)
