"""What follows from an attempt's outcome: a commit, another try, damaged inputs made anew, or a
step given up.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

from threedrs_platform.compute.attempts import AttemptReport
from threedrs_platform.database.claims import CellKey, Claim, Outcome
from threedrs_platform.errors import StorageError
from threedrs_platform.states import FailureClass, StepState
from threedrs_workflows.engine.run_context import Attempt, RunContext
from threedrs_workflows.engine.schedule import Phase
from threedrs_workflows.plan.plan import PlannedStep

MAX_INPUT_REPAIRS = 2
"""How often one step may find its inputs damaged before it counts as failed."""


MAX_GIVEN_BACK = 8
"""How often one step may lose its machine before the step itself is suspected."""


class OutcomeHandler:
    """Handles the outcomes of one run's attempts."""

    def __init__(self, context: RunContext) -> None:
        self._run = context
        self.out_of_storage = ""
        """Why the run cannot go on, once storage has failed."""

    def handle(self, attempt: Attempt, report: AttemptReport) -> None:
        """Do what the report of an attempt that ran here asks for."""
        self.handle_all([(attempt, report)])

    def handle_all(self, ended: Sequence[tuple[Attempt, AttemptReport]]) -> None:
        """As `handle`, for all that ended; what succeeded is committed together, and first."""
        for attempt, _ in ended:
            self._run.show_progress(attempt)
        self._commit([each for each in ended if each[1].digest is not None])
        for attempt, report in ended:
            if report.digest is None:
                self._handle_failed(attempt, report)

    def _handle_failed(self, attempt: Attempt, report: AttemptReport) -> None:
        run, step, claim = self._run, attempt.step, attempt.claim
        journal = run.workspace.journal
        if run.schedule.phase(step.key) is Phase.CANCELLED:
            journal.release(run.run_id, [claim], "cancelled", StepState.CANCELLED)
        elif report.bad_inputs:
            self._repair_inputs(attempt, report)
        elif report.failure is FailureClass.STORAGE:
            journal.fail(run.run_id, claim, FailureClass.STORAGE, report.message, retry_in_s=0.0)
            run.schedule.set(step.key, Phase.READY)
            # Not raised here: reports of other attempts are still to be committed in this turn.
            self.out_of_storage = f"{step.name}: {report.message}"
        elif report.cancelled and report.failure is None:
            self._give_back(attempt, report.message)
        else:
            self._retry_or_fail(attempt, report.failure or FailureClass.BUG, report.message)

    def time_out(self, attempt: Attempt) -> None:
        """Stop an attempt that took longer than its step allows."""
        if attempt.handle is not None:
            self._run.later(partial(self._run.compute.cancel, attempt.handle))
        del self._run.attempts[attempt.step.key]
        limit = attempt.step.spec.resources.timeout_s
        self._retry_or_fail(attempt, FailureClass.INFRA, f"took longer than its limit of {limit} s")

    def _commit(self, ended: Sequence[tuple[Attempt, AttemptReport]]) -> None:
        """Make artifacts of successful attempts the results of their steps, if claims hold."""
        run = self._run
        outcomes = {attempt.claim: _outcome(attempt, report) for attempt, report in ended}

        def finish(claim: Claim) -> list[CellKey]:
            finishing = run.schedule.finishing(claim.key)
            run.schedule.done(claim.key, outcomes[claim].digest)
            return finishing

        if not ended:
            return
        done = run.workspace.journal.commit_all(run.run_id, outcomes, finish)
        for attempt, report in ended:
            step = attempt.step
            if attempt.claim in done:
                run.later(partial(run.cleaner.remove, step.key, attempt.claim.epoch))
                run.tell(step, "done", f"{report.seconds:.1f} s")
            else:
                run.wait_for_others(step.key)
                run.tell(step, "lost", "another supervisor took the step over")

    def _repair_inputs(self, attempt: Attempt, report: AttemptReport) -> None:
        """Send the steps that made damaged inputs back to work; this step waits for them again."""
        run, step = self._run, attempt.step
        run.repairs[step.key] = run.repairs.get(step.key, 0) + 1
        if run.repairs[step.key] > MAX_INPUT_REPAIRS:
            self._give_up(step, attempt.claim, FailureClass.INFRA, report.message)
            return
        run.workspace.journal.release(run.run_id, [attempt.claim], report.message)
        text = f"{step.name}: {report.message}; rebuilding"
        run.later(partial(run.observer.warning, text))
        run.schedule.set(step.key, Phase.WAITING)
        for name in report.bad_inputs:
            upstream = step.inputs[name]
            if run.schedule.phase(upstream) is Phase.DONE:
                why = "artifact missing or corrupt"
                run.workspace.journal.invalidate(run.run_id, upstream, why)
                run.schedule.undo(upstream)

    def _give_back(self, attempt: Attempt, why: str) -> None:
        """Undo an attempt that ended through no fault of its step: it costs no try."""
        run, step = self._run, attempt.step
        run.given_back[step.key] = run.given_back.get(step.key, 0) + 1
        if run.given_back[step.key] > MAX_GIVEN_BACK:
            message = f"{why}, {MAX_GIVEN_BACK + 1} times under this step"
            self._give_up(step, attempt.claim, FailureClass.INFRA, message)
            return
        run.workspace.journal.release(run.run_id, [attempt.claim], why)
        run.schedule.set(step.key, Phase.READY)
        run.tell(step, "returned", why)

    def _retry_or_fail(self, attempt: Attempt, failure: FailureClass, message: str) -> None:
        run, step = self._run, attempt.step
        retry = run.retries.decide(step.spec, step.key, failure, attempt.request.settings)
        if retry is None:
            self._give_up(step, attempt.claim, failure, message)
            return
        journal = run.workspace.journal
        if not journal.fail(run.run_id, attempt.claim, failure, message, retry.delay_s):
            run.wait_for_others(step.key)
            return
        run.waiting_retries[step.key] = (time.monotonic() + retry.delay_s, retry)
        run.schedule.set(step.key, Phase.READY)
        run.tell(step, "retry", f"{failure}: {message}; {retry.note}")

    def _give_up(
        self, step: PlannedStep, claim: Claim, failure: FailureClass, message: str
    ) -> None:
        if self._run.workspace.journal.fail(self._run.run_id, claim, failure, message):
            self._run.fail(step, failure, message)
        else:
            self._run.wait_for_others(step.key)

    def check_storage(self) -> None:
        """End the run if storage has failed: whatever comes next would fail too.

        Raises:
            StorageError: says which step met it.
        """
        if self.out_of_storage:
            raise StorageError(self.out_of_storage)


def _outcome(attempt: Attempt, report: AttemptReport) -> Outcome:
    assert report.digest is not None
    return Outcome(
        digest=report.digest,
        content_key=attempt.content_key,
        input_digests=attempt.request.inputs,
        size=report.size,
        files=report.files,
        seconds=report.seconds,
        cpu_s=report.cpu_s,
        gpu_s=report.gpu_s,
        max_rss=report.max_rss,
        node=report.node,
        pid=report.pid,
        metrics=report.metrics,
        scores=report.scores,
        curves=report.curves,
        warnings=report.warnings,
    )
