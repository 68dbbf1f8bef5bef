"""Runs a plan to its end: claims steps, executes them, commits or retries, and tells the journal.

One thread decides; a second one only renews leases. Several supervisors may work on one journal:
a step that another one holds is waited for, and its result adopted.

All that happens in one turn is one transaction. Attempts begin after it, so nothing ever runs
without a claim that is written down.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

from threedrs_platform.compute.attempts import AttemptReport
from threedrs_platform.compute.in_process import Compute, Handle
from threedrs_platform.compute.scratch import step_of
from threedrs_platform.database.priorities import kinds_ahead
from threedrs_platform.database.retention import scratch_folders
from threedrs_platform.database.turns import PATIENCE_S, STOP_PATIENCE_S
from threedrs_platform.errors import StorageError
from threedrs_platform.states import RunState, StepState
from threedrs_platform.workspace import Workspace
from threedrs_workflows.engine.budget import Budget, Purse
from threedrs_workflows.engine.ending import Ending
from threedrs_workflows.engine.feed import CellFeed
from threedrs_workflows.engine.heartbeat import Heartbeat
from threedrs_workflows.engine.launching import StepLauncher
from threedrs_workflows.engine.observer import Observer
from threedrs_workflows.engine.outages import Outages
from threedrs_workflows.engine.outcomes import OutcomeHandler
from threedrs_workflows.engine.retries import RetryPolicy
from threedrs_workflows.engine.run_context import RunContext, ScratchCleaner, SupervisorOptions
from threedrs_workflows.engine.schedule import Schedule
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
            cleaner=ScratchCleaner(self.workspace.scratch),
            feed=self.feed,
        )
        try:
            return self.loop(context, plan).work()
        finally:
            context.cleaner.close()

    def loop(self, context: RunContext, plan: Plan) -> RunLoop:
        """What works on one run."""
        return RunLoop(context, plan, self.stop, self.budget)


class RunLoop:
    """Works on one run, from the first look at its plan to the last word in the journal."""

    def __init__(
        self, context: RunContext, plan: Plan, stop: threading.Event, budget: Budget | None
    ) -> None:
        self._run, self._plan, self._stop = context, plan, stop
        self._purse = Purse(context.workspace, context.run_id, budget, context.feed)
        self._launcher = StepLauncher(context, self._purse)
        self._outcomes = OutcomeHandler(context)
        self._ending = Ending(context, self._purse)
        self._outages = Outages(context, self._outcomes)
        self._next_look = 0.0
        self._ended: list[tuple[Handle, AttemptReport]] = []
        """Reports of attempts, kept until the turn that handles them has happened."""

    def work(self) -> RunState:
        """Start the run, turn until it is finished or stopped, and write its state."""
        database = self._run.workspace.database
        with database.patience(PATIENCE_S, self._stop):
            self._ending.start()
            try:
                state = self._work()
            except StorageError:
                # This error is the one to tell; what stays away need not be waited for again.
                with database.patience(STOP_PATIENCE_S), contextlib.suppress(StorageError):
                    self._end(RunState.INTERRUPTED)
                raise
            except BaseException:
                self._end(RunState.INTERRUPTED)
                raise
            self._end(state)
        return state

    def _work(self) -> RunState:
        run = self._run
        with Heartbeat(run.workspace.journal, run.options.lease_s):
            self._begin()
            while not self._ending.is_reached and not self._stop.is_set():
                self._turn()
                rest = None if self._ending.is_reached else self._ending.rest()
                if rest is not None:
                    return rest
        return self._ending.outcome() if self._ending.is_reached else RunState.INTERRUPTED

    def _begin(self) -> None:
        """Take over what the plan found done, and show the run."""
        run, schedule = self._run, self._run.schedule
        run.turn(partial(self._take_over, self._plan))
        left = {step_of(each.name) for each in scratch_folders(run.workspace.scratch)}
        left &= schedule.digests.keys()
        for key, row in run.workspace.journal.rows(left).items():
            if row.state is StepState.SUCCEEDED:  # a supervisor died after its commit
                run.cleaner.remove(key, row.epoch)
        self._purse.count(())
        run.observer.started(run.run_id, schedule)

    def _take_over(self, plan: Plan) -> None:
        """Write down what a plan found done, and the cells that it completes."""
        run, schedule = self._run, self._run.schedule
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
            run.turn(partial(run.drop, [cell], why, StepState.CANCELLED))
        plan = run.feed.more(run.schedule)
        if plan is not None:
            run.schedule.add(plan)
            run.turn(partial(self._take_over, plan))

    def _turn(self) -> None:
        """One round: take what ended, look around now and then, start what can start."""
        run = self._run
        self._take_in()
        self._ended += self._outages.wait()
        if time.monotonic() >= self._next_look:
            self._look_around()
        self._launcher.look()
        if self._ended or self._launcher.startable():
            run.turn(self._handle_and_start)
            self._ended.clear()
            self._launcher.submit()  # only now: nothing may run without a claim that is committed
        self._outcomes.check_storage()
        if not run.attempts and not self._ending.is_reached:
            self._stop.wait(0 if self._launcher.has_more else run.options.poll_s)

    def _handle_and_start(self) -> None:
        """The part of a turn that is one transaction."""
        self._launcher.forget()
        self._handle_ended()
        self._start()

    def _handle_ended(self) -> None:
        """Handle the reports of attempts that ended."""
        run = self._run
        ended = []
        for handle, report in self._ended:
            attempt = run.attempts.get(handle.step_key)
            if attempt is not None and attempt.handle == handle:
                del run.attempts[handle.step_key]
                ended.append((attempt, report))
            # else it timed out before, and nobody waits for it any more
        self._outcomes.handle_all(ended)
        if self._ended:
            self._purse.count(run.attempts.values())

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
                run.turn(partial(self._outcomes.time_out, attempt))
        run.comes_to_rest = run.failed_too_often or run.workspace.runs.is_paused(run.run_id)
        run.gives_way_in = kinds_ahead(run.workspace.database, run.run_id)
        run.heed_cancellations()
        run.look_for_others()

    def _end(self, state: RunState) -> None:
        """Stop what runs, give its claims back, and write the state of the run."""
        run, journal = self._run, self._run.workspace.journal
        try:
            if self._ended:  # of a turn that did not happen; what failed in it was not they
                run.turn(self._handle_ended)
        finally:  # if it was one of them, all else is given back nevertheless
            try:
                claims = [attempt.claim for attempt in run.attempts.values()]
                if claims:
                    run.compute.close()  # first: what is given back while it runs would run twice
                    journal.release(run.run_id, claims, "interrupted")
                self._ending.write(state)
            finally:
                run.observer.finished(state)
