"""Runs a plan to its end: claims steps, executes them, commits or retries, and tells the journal.

One thread decides; a second one only renews leases. Several supervisors may work on one journal:
a step that another one holds is waited for, and its result adopted.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from threedrs_platform.artifacts import ArtifactStore, Health
from threedrs_platform.attempts import AttemptReport, AttemptRequest
from threedrs_platform.compute import Compute, Handle
from threedrs_platform.errors import StorageError
from threedrs_platform.events import Event
from threedrs_platform.journal import Claim, Journal, Outcome
from threedrs_platform.recorder import LiveTail, Progress
from threedrs_platform.source_code import CodeIndex
from threedrs_platform.states import FailureClass, RunState, StepState
from threedrs_platform.step_rows import StepRow
from threedrs_platform.steps import JSON
from threedrs_platform.workspace import Workspace
from threedrs_workflows.heartbeat import Heartbeat
from threedrs_workflows.observer import Observer, Silent
from threedrs_workflows.plan import Plan, PlannedStep
from threedrs_workflows.retries import RetryPolicy
from threedrs_workflows.schedule import Phase, Schedule

STARTS_PER_TURN = 8
MAX_INPUT_REPAIRS = 2
"""How often one step may find its inputs damaged before it counts as failed."""


@dataclass(frozen=True)
class SupervisorOptions:
    """How a run is worked on. None of it changes a number."""

    jobs: int | None = None
    """Most attempts at a time; None = as many as the compute holds."""
    fail_fast: bool = False
    lease_s: float = 60.0
    poll_s: float = 0.2
    """Longest wait before looking at progress, cancellations and other supervisors."""
    code_check_s: float = 2.0
    """How old a look at the source files may be when a result is committed."""


@dataclass
class _Attempt:
    """An attempt that runs here."""

    claim: Claim
    step: PlannedStep
    handle: Handle
    tail: LiveTail
    settings: Mapping[str, JSON]
    inputs: Mapping[str, str]
    content_key: str
    deadline: float | None


@dataclass
class Supervisor:
    """Works on one run at a time."""

    workspace: Workspace
    compute: Compute
    options: SupervisorOptions = SupervisorOptions()
    observer: Observer = field(default_factory=Silent)
    retries: RetryPolicy = field(default_factory=RetryPolicy)
    stop: threading.Event = field(default_factory=threading.Event)
    """Set it to interrupt the run; it can be resumed."""
    tally: Counter[str] = field(default_factory=Counter)
    """How often each thing happened to a step: done, reused, retry, failed, ..."""

    def run(self, run_id: str, plan: Plan) -> RunState:
        """Work until every step is done, failed or blocked, or until `stop` is set.

        Raises:
            ConflictError: another live supervisor works on this run.
            StorageError: storage or database became unusable; the run can be resumed.
        """
        return _Run(self, run_id, plan).work()


class _Run:
    """One run under supervision."""

    def __init__(self, supervisor: Supervisor, run_id: str, plan: Plan) -> None:
        self.run_id = run_id
        self._options = supervisor.options
        self._workspace = supervisor.workspace
        self._journal: Journal = supervisor.workspace.journal
        self._store: ArtifactStore = supervisor.workspace.store
        self._runs = supervisor.workspace.runs
        self._compute, self._observer = supervisor.compute, supervisor.observer
        self._tally = supervisor.tally
        self._retries, self._stop = supervisor.retries, supervisor.stop
        self._code = _FreshCode(supervisor.workspace.code, self._options.code_check_s)
        self._schedule = Schedule(plan)
        self._attempts: dict[str, _Attempt] = {}
        self._not_before: dict[str, float] = {}
        self._changed_settings: dict[str, Mapping[str, JSON]] = {}
        self._notes: dict[str, str] = {}
        self._repairs: Counter[str] = Counter()
        self._next_poll = 0.0
        self._plan = plan

    def work(self) -> RunState:
        """The whole life of the run."""
        self._runs.start(self.run_id, self._journal.owner, self._options.lease_s)
        state = RunState.INTERRUPTED
        try:
            with Heartbeat(self._journal, self._options.lease_s):
                self._begin()
                while not self._schedule.is_finished and not self._stop.is_set():
                    self._turn()
                if self._schedule.is_finished:
                    state = self._schedule.outcome()
        finally:
            self._end(state)
        return state

    def _begin(self) -> None:
        """Take over what the plan found done."""
        for step in self._plan.steps:
            if step.hit and step.twin is not None:
                self._journal.adopt(
                    self.run_id, step.key, step.twin, self._schedule.inputs(step.key)
                )
        done = [c for c, state in self._schedule.cells.items() if state is StepState.SUCCEEDED]
        self._runs.finish_cells(self.run_id, done, StepState.SUCCEEDED)
        self._observer.started(self.run_id, self._schedule)

    def _turn(self) -> None:
        """One round: start what can start, take what ended, look around now and then."""
        started = self._start_ready()
        if time.monotonic() >= self._next_poll:
            self._look_around()
            self._next_poll = time.monotonic() + self._options.poll_s
        if self._attempts:
            for handle, report in self._compute.wait(0 if started else self._options.poll_s):
                self._ended(self._attempts.pop(handle.step_key), report)
        elif not started and not self._schedule.is_finished:
            self._stop.wait(self._options.poll_s)

    def _start_ready(self) -> bool:
        """Start ready steps while there is room; whether any step changed its phase."""
        ready = self._startable()
        if not ready:
            return False
        contents = {key: self._content_key(key) for key in ready}
        rows = self._journal.rows(ready)
        twins = self._journal.with_content(contents.values())
        changed = False
        for key in ready:
            if not self._has_slot():
                break
            twin = twins.get(contents[key])
            changed |= self._start(self._schedule.steps[key], rows[key], contents[key], twin)
        return changed

    def _startable(self) -> list[str]:
        """The next ready steps that there is room for; a few, for room shrinks with each start."""
        if not self._has_slot():
            return []
        now = time.monotonic()
        fitting = (
            key
            for key in self._schedule.ready()
            if self._not_before.get(key, 0.0) <= now
            and self._compute.has_room(self._schedule.steps[key].spec.resources)
        )
        return list(islice(fitting, STARTS_PER_TURN))

    def _start(
        self, step: PlannedStep, row: StepRow, content_key: str, twin: StepRow | None
    ) -> bool:
        """Bring one ready step on its way; False if there is no room for it now."""
        if row.state is StepState.SUCCEEDED and row.content_key == content_key:
            return self._take_result(row)
        if row.state is StepState.SUCCEEDED:
            self._journal.invalidate(self.run_id, step.key, "input changed")
            return True
        if row.state is StepState.RUNNING and not row.is_abandoned:
            self._schedule.set(step.key, Phase.ELSEWHERE)
            self._tell(step, "waiting", "another submission works on it")
            return True
        if row.state is StepState.FAILED:
            self._fail(step, row.failure or FailureClass.BUG, row.message or "failed elsewhere")
            return True
        if row.state in (StepState.BLOCKED, StepState.CANCELLED):
            self._reopen(step.key, row)
            return True
        if twin is not None and twin.key != step.key and self._adopt(step, twin):
            return True
        return self._launch(step, content_key)

    def _take_result(self, row: StepRow) -> bool:
        """Use what another supervisor, or an earlier run, committed for this very step."""
        assert row.output_digest is not None
        if self._store.stat_check(row.output_digest) is not Health.OK:
            self._journal.invalidate(self.run_id, row.key, "artifact missing or corrupt")
            return True
        self._finish(self._schedule.steps[row.key], row.output_digest, "reused")
        return True

    def _adopt(self, step: PlannedStep, twin: StepRow) -> bool:
        """Early cutoff: the same work was done under another recipe."""
        digest = twin.output_digest
        if digest is None or self._store.stat_check(digest) is not Health.OK:
            return False
        inputs = self._schedule.inputs(step.key)
        finishing = self._schedule.finishing(step.key)
        if not self._journal.adopt(self.run_id, step.key, twin, inputs, finishing):
            return False
        self._schedule.done(step.key, digest)
        self._tell(step, "reused", f"same inputs as step {twin.key[:12]}")
        return True

    def _reopen(self, key: str, row: StepRow) -> None:
        """Another run gave the step up; this one wants it, and its inputs are there."""
        self._journal.move(self.run_id, [key], StepState.PENDING, row.reason, [row.state])

    def _launch(self, step: PlannedStep, content_key: str) -> bool:
        """Claim a step and start an attempt; False if there is no room now."""
        resources = step.spec.resources
        refusal = self._compute.refusal(resources)
        if refusal is None and not self._compute.has_room(resources):
            return False
        logs = self._workspace.logs(step.key)
        note = self._notes.get(step.key, "")
        log_file = str(logs / "{attempt}.log")
        claim = self._journal.claim(self.run_id, step.key, self._options.lease_s, log_file, note)
        if claim is None:
            self._schedule.set(step.key, Phase.ELSEWHERE)
            return True
        if refusal is not None:
            self._give_up(step, claim, FailureClass.INFRA, refusal)
            return True
        settings = self._changed_settings.get(step.key, step.spec.settings)
        request = AttemptRequest(
            step_key=step.key,
            attempt=claim.epoch,
            kind=step.spec.kind,
            label=step.spec.label,
            entry=step.spec.entry,
            params=dict(step.spec.params),
            settings=dict(settings),
            inputs=self._schedule.inputs(step.key),
            resources=resources,
            store=self._workspace.store_address,
            scratch=str(self._workspace.scratch(step.key)),
            log_file=log_file.format(attempt=claim.epoch),
            live_file=str(logs / f"{claim.epoch}.jsonl"),
        )
        timeout = resources.timeout_s
        self._attempts[step.key] = _Attempt(
            claim,
            step,
            self._compute.submit(request),
            LiveTail(logs / f"{claim.epoch}.jsonl"),
            settings,
            request.inputs,
            content_key,
            time.monotonic() + timeout if timeout else None,
        )
        self._schedule.set(step.key, Phase.RUNNING)
        self._tell(step, "started", note)
        return True

    def _ended(self, attempt: _Attempt, report: AttemptReport) -> None:
        """Take in the report of an attempt that ran here."""
        step, claim = attempt.step, attempt.claim
        self._show_progress(attempt)
        if report.digest is not None:
            self._commit(attempt, report)
        elif self._schedule.phase(step.key) is Phase.CANCELLED:
            self._journal.release(self.run_id, [claim], "cancelled", StepState.CANCELLED)
        elif report.bad_inputs:
            self._repair_inputs(attempt, report)
        elif report.failure is FailureClass.STORAGE:
            self._journal.fail(self.run_id, claim, FailureClass.STORAGE, report.message, 0.0)
            raise StorageError(f"step {step.spec.kind} {step.spec.label}: {report.message}")
        elif report.cancelled and report.failure is None:
            self._journal.release(self.run_id, [claim], report.message or "cancelled")
            self._schedule.set(step.key, Phase.READY)
        else:
            self._retry_or_fail(attempt, report.failure or FailureClass.BUG, report.message)

    def _commit(self, attempt: _Attempt, report: AttemptReport) -> None:
        """Make a finished attempt the step's result, unless its claim or its code is stale."""
        step = attempt.step
        if not self._code.is_still(step.spec.entry, step.recipe.code):
            message = (
                "its code was edited while it ran, so the result has no identity; submit again"
            )
            self._give_up(step, attempt.claim, FailureClass.BUG, message)
            return
        assert report.digest is not None
        outcome = Outcome(
            digest=report.digest,
            content_key=attempt.content_key,
            input_digests=attempt.inputs,
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
        finishing = self._schedule.finishing(step.key)
        if self._journal.commit(self.run_id, attempt.claim, outcome, finishing):
            shutil.rmtree(self._workspace.scratch(step.key), ignore_errors=True)
            self._schedule.done(step.key, report.digest)
            self._tell(step, "done", f"{report.seconds:.1f} s")
        else:
            self._schedule.set(step.key, Phase.ELSEWHERE)
            self._tell(step, "lost", "another supervisor took the step over")

    def _finish(self, step: PlannedStep, digest: str, what: str) -> None:
        """A step is done without an attempt of ours."""
        finishing = self._schedule.finishing(step.key)
        self._schedule.done(step.key, digest)
        self._runs.finish_cells(self.run_id, finishing, StepState.SUCCEEDED)
        self._tell(step, what)

    def _repair_inputs(self, attempt: _Attempt, report: AttemptReport) -> None:
        """Inputs were missing or corrupt: make them again, then try the step again."""
        step = attempt.step
        self._repairs[step.key] += 1
        if self._repairs[step.key] > MAX_INPUT_REPAIRS:
            self._give_up(step, attempt.claim, FailureClass.INFRA, report.message)
            return
        self._journal.release(self.run_id, [attempt.claim], report.message)
        self._observer.warning(f"{step.spec.kind} {step.spec.label}: {report.message}; rebuilding")
        self._schedule.set(step.key, Phase.WAITING)
        for name in report.bad_inputs:
            upstream = step.inputs[name]
            if self._schedule.phase(upstream) is Phase.DONE:
                self._journal.invalidate(self.run_id, upstream, "artifact missing or corrupt")
                self._schedule.undo(upstream)

    def _retry_or_fail(self, attempt: _Attempt, failure: FailureClass, message: str) -> None:
        step = attempt.step
        retry = self._retries.decide(step.spec, step.key, failure, attempt.settings)
        if retry is None:
            self._give_up(step, attempt.claim, failure, message)
            return
        if not self._journal.fail(self.run_id, attempt.claim, failure, message, retry.delay_s):
            self._schedule.set(step.key, Phase.ELSEWHERE)
            return
        self._not_before[step.key] = time.monotonic() + retry.delay_s
        self._changed_settings[step.key] = retry.settings
        self._notes[step.key] = retry.note
        self._schedule.set(step.key, Phase.READY)
        self._tell(step, "retry", f"{failure}: {message}; {retry.note}")

    def _give_up(
        self, step: PlannedStep, claim: Claim, failure: FailureClass, message: str
    ) -> None:
        if self._journal.fail(self.run_id, claim, failure, message):
            self._fail(step, failure, message)
        else:
            self._schedule.set(step.key, Phase.ELSEWHERE)

    def _fail(self, step: PlannedStep, failure: str, message: str) -> None:
        """A step is lost for this run: its users are blocked, its cells have failed."""
        blocked, ended = self._schedule.failed(step.key)
        why = f"{step.spec.kind} {step.spec.label}".strip() + " failed"
        self._journal.move(self.run_id, blocked, StepState.BLOCKED, why)
        self._runs.finish_cells(self.run_id, ended, StepState.FAILED, why)
        self._tell(step, "failed", f"{failure}: {message}")
        if blocked:
            self._tell(step, "blocked", f"{len(blocked)} steps depend on it")
        if self._options.fail_fast:
            self._drop(self._schedule.cells, "stopped by --fail-fast", StepState.FAILED)

    def _look_around(self) -> None:
        """Progress of running steps, time limits, cancellations, other supervisors."""
        for attempt in list(self._attempts.values()):
            self._show_progress(attempt)
            if attempt.deadline is not None and time.monotonic() > attempt.deadline:
                self._time_out(attempt)
        whole, cells = self._runs.cancelled(self.run_id)
        if whole or cells:
            chosen = list(self._schedule.cells) if whole else cells
            self._drop(chosen, "cancelled", StepState.CANCELLED)
        for key in [k for k in self._schedule.steps if self._schedule.phase(k) is Phase.ELSEWHERE]:
            self._look_at(key)

    def _look_at(self, key: str) -> None:
        """Whether a step that another supervisor held is done, given up or abandoned."""
        row = self._journal.rows([key])[key]
        if row.state is not StepState.RUNNING or row.is_abandoned:
            self._schedule.set(key, Phase.READY)

    def _time_out(self, attempt: _Attempt) -> None:
        attempt.deadline = None
        self._compute.cancel(attempt.handle)
        limit = attempt.step.spec.resources.timeout_s
        del self._attempts[attempt.step.key]
        self._retry_or_fail(attempt, FailureClass.INFRA, f"took longer than its limit of {limit} s")

    def _drop(self, cells: Iterable, why: str, state: StepState) -> None:  # type: ignore[type-arg]
        """Give cells up; steps that only they need are cancelled, running ones stopped."""
        keep = self._runs.wanted_elsewhere(self.run_id) if state is StepState.CANCELLED else set()
        dropped, ended = self._schedule.cancel(cells)
        if not dropped and not ended:
            return
        idle = [key for key in dropped if key not in self._attempts and key not in keep]
        self._journal.move(self.run_id, idle, StepState.CANCELLED, why)
        for key in dropped:
            self._schedule.set(key, Phase.CANCELLED)
            if key in self._attempts:
                self._compute.cancel(self._attempts[key].handle)
        self._runs.finish_cells(self.run_id, ended, state, why)

    def _tell(self, step: PlannedStep, what: str, message: str = "") -> None:
        self._tally[what] += 1
        self._observer.step(step, what, message)

    def _show_progress(self, attempt: _Attempt) -> None:
        for line in attempt.tail.new_lines():
            if line["kind"] == "progress":
                progress = Progress(line["done"], line["total"], line["note"])
                self._observer.progress(attempt.step, progress)
            elif line["kind"] == "warning":
                message = line["message"]
                self._tell(attempt.step, "warning", message)
                event = Event("step.warning", attempt.step.key, {"message": message})
                self._runs.tell(self.run_id, [event])

    def _end(self, state: RunState) -> None:
        """Let go of everything, whatever happened."""
        for attempt in self._attempts.values():
            self._compute.cancel(attempt.handle)
        claims = [attempt.claim for attempt in self._attempts.values()]
        if claims:
            self._compute.close()
            self._journal.release(self.run_id, claims, "interrupted")
        counts = {str(phase): count for phase, count in self._schedule.counts().items()}
        self._runs.finish(self.run_id, self._journal.owner, state, {"steps": counts})
        self._observer.finished(state)

    def _content_key(self, key: str) -> str:
        return self._schedule.steps[key].recipe.content_key(self._schedule.inputs(key))

    def _has_slot(self) -> bool:
        return self._options.jobs is None or len(self._attempts) < self._options.jobs


class _FreshCode:
    """Notices source files that are edited while a run goes on."""

    def __init__(self, index: CodeIndex, max_age_s: float) -> None:
        self._index, self._max_age_s = index, max_age_s
        self._looked = time.monotonic()

    def is_still(self, entry: str, digest: str) -> bool:
        """Whether an entry point's code is what it was when the run was planned."""
        if time.monotonic() - self._looked > self._max_age_s:
            self._index.forget()
            self._looked = time.monotonic()
        return self._index.digest(entry).modules == digest
