"""What the parts of a supervisor share while they work on one run."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from threedrs_platform.compute.attempts import AttemptRequest
from threedrs_platform.compute.in_process import Compute, Handle
from threedrs_platform.compute.recorder import LiveTail, Progress
from threedrs_platform.compute.scratch import clean_up
from threedrs_platform.database.claims import CellKey, Claim
from threedrs_platform.database.events import Event
from threedrs_platform.database.runs import LEASE_S
from threedrs_platform.states import StepState
from threedrs_platform.steps import JSON
from threedrs_platform.workspace import Workspace
from threedrs_workflows.engine.feed import CellFeed
from threedrs_workflows.engine.observer import Observer
from threedrs_workflows.engine.retries import Retry, RetryPolicy
from threedrs_workflows.engine.schedule import Phase, Schedule
from threedrs_workflows.engine.undo import Reversible, Undoable
from threedrs_workflows.plan.plan import PlannedStep


@dataclass(frozen=True)
class SupervisorOptions:
    """How a run is worked on. None of it changes a number."""

    jobs: int | None = None
    """Most attempts at a time; None = as many as the compute holds."""
    fail_fast: bool = False
    max_failures: int | None = None
    """Failed steps after which nothing new starts; None = never."""
    lease_s: float = LEASE_S
    poll_s: float = 0.2
    """Longest wait before looking at progress, cancellations and other supervisors."""


@dataclass
class Attempt:
    """An attempt of this supervisor, running or claimed."""

    claim: Claim
    step: PlannedStep
    request: AttemptRequest
    content_key: str
    tail: LiveTail
    handle: Handle | None = None
    began: float = field(default_factory=time.monotonic)
    deadline: float | None = None
    lines: list[dict[str, Any]] = field(default_factory=list)
    """What its step has reported and nobody has passed on."""


@dataclass
class RunContext:
    """One run under supervision: its schedule, its attempts, and what must be told to whom."""

    run_id: str
    workspace: Workspace
    compute: Compute
    options: SupervisorOptions
    observer: Observer
    retries: RetryPolicy
    schedule: Schedule
    tally: Counter[str]
    cleaner: ScratchCleaner
    attempts: Undoable[str, Attempt] = field(default_factory=Undoable)
    waiting_retries: Undoable[str, tuple[float, Retry]] = field(default_factory=Undoable)
    """Step key -> when it is tried again at the earliest, and what that attempt changes."""
    feed: CellFeed = field(default_factory=CellFeed)
    """Where more cells come from while the run goes on."""
    repairs: Undoable[str, int] = field(default_factory=Undoable)
    """Step key -> how often it found its inputs damaged."""
    given_back: Undoable[str, int] = field(default_factory=Undoable)
    """Step key -> how often its attempt was stopped though nobody had cancelled it."""
    known_tries: Undoable[str, int] = field(default_factory=Undoable)
    """Step key -> its newest attempt that this supervisor has learned of."""
    takes: Callable[[PlannedStep], bool] = lambda step: True
    """Whether a step is for this supervisor. Others are left to workers that take them."""
    comes_to_rest: bool = False
    """Whether nothing new starts: paused, or too much has failed."""
    gives_way_in: Collection[str] = ()
    """Kinds of steps that runs of a higher priority have ready: none of them starts here."""
    _effects: list[Callable[[], object]] = field(default_factory=list)
    _is_in_turn: bool = False

    def turn(self, work: Callable[[], None]) -> None:
        """Do all that `work` does, here and in the database, in one transaction, or nothing.

        It is done again while the database loses it. What it left for `later` follows.

        Raises:
            StorageError: the database stays away.
        """
        counts = (self.waiting_retries, self.repairs, self.given_back, self.known_tries)
        marked: tuple[Reversible, ...] = (self.schedule, self.attempts, self.retries, *counts)

        def whole() -> None:
            self._effects.clear()
            for each in marked:
                each.mark()
            try:
                with self.workspace.database.write():
                    work()
            except BaseException:
                for each in marked:
                    each.roll_back()
                raise

        self._is_in_turn = True
        try:
            self.workspace.database.patiently(whole)
        finally:
            self._is_in_turn = False
        for effect in self._effects:
            effect()

    def later(self, effect: Callable[[], object]) -> None:
        """Do what cannot be undone once the turn's transaction has happened; at once outside."""
        if self._is_in_turn:
            self._effects.append(effect)
        else:
            effect()

    def ready(self) -> Iterator[str]:
        """Steps that may start here, the next one first; nothing may change meanwhile."""
        if self.comes_to_rest:
            return
        steps = self.schedule.steps
        for key in self.schedule.ready():
            if steps[key].spec.kind not in self.gives_way_in and self.takes(steps[key]):
                yield key

    @property
    def failed_too_often(self) -> bool:
        """Whether more steps have failed than the run is to stand."""
        most = self.options.max_failures
        return most is not None and self.schedule.counts()[Phase.FAILED] >= most

    def tell(self, step: PlannedStep, what: str, message: str = "") -> None:
        """Count an event of a step and show it."""

        def told() -> None:
            self.tally[what] += 1
            self.observer.step(step, what, message)

        self.later(told)

    def settings(self, step: PlannedStep) -> Mapping[str, JSON]:
        """The step's settings, changed by its last retry if there was one."""
        retry = self.waiting_retries.get(step.key)
        return retry[1].settings if retry else step.spec.settings

    def note(self, step: PlannedStep) -> str:
        """Why the step's next attempt is not its first; empty if it is."""
        retry = self.waiting_retries.get(step.key)
        return retry[1].note if retry else ""

    def wants_fresh_process(self, step: PlannedStep) -> bool:
        """Whether the last attempt ran out of memory, of which its process may still hold some."""
        retry = self.waiting_retries.get(step.key)
        return retry is not None and retry[1].fresh_process

    def wait_for_others(self, key: str) -> None:
        """Leave a step to the supervisor that has it, and look at it now and then."""
        self.schedule.set(key, Phase.ELSEWHERE)

    def look_for_others(self) -> None:
        """See which of the steps that others have are done or given up: they are decided anew."""
        schedule = self.schedule
        elsewhere = [key for key in schedule.steps if schedule.phase(key) is Phase.ELSEWHERE]
        for key, row in self.workspace.journal.rows(elsewhere).items():
            if row.state is not StepState.RUNNING or row.is_abandoned:
                schedule.set(key, Phase.READY)

    def heed_cancellations(self) -> None:
        """Give up the run or those of its cells that somebody wants cancelled."""
        whole, cells = self.workspace.runs.cancelled(self.run_id)
        if whole:
            self.feed.close()
        if whole or cells:
            chosen = list(self.schedule.cells) if whole else sorted(cells, key=lambda c: c.cell_id)
            self.turn(partial(self.drop, chosen, "cancelled", StepState.CANCELLED))

    def fail(self, step: PlannedStep, failure: str, message: str) -> None:
        """A step is lost for this run: its users are blocked, its cells have failed."""
        blocked, ended = self.schedule.failed(step.key)
        why = f"{step.name} failed"
        self.workspace.journal.move(self.run_id, blocked, StepState.BLOCKED, why)
        self.workspace.runs.finish_cells(self.run_id, ended, StepState.FAILED, why)
        self.tell(step, "failed", f"{failure}: {message}")
        if blocked:
            self.tell(step, "blocked", f"{len(blocked)} steps depend on it")
        self.comes_to_rest |= self.failed_too_often
        if self.options.fail_fast:
            self.later(self.feed.close)
            self.drop(list(self.schedule.cells), "stopped by --fail-fast", StepState.FAILED)

    def drop(self, cells: Iterable[CellKey], why: str, state: StepState) -> None:
        """Give cells up: steps that only they need are cancelled, running ones stopped."""
        dropped, ended = self.schedule.cancel(cells)
        if not dropped and not ended:
            return
        # Steps are shared between runs: one that another run waits for is not ours to cancel.
        wanted = self.workspace.runs.wanted_elsewhere(self.run_id)
        idle = [key for key in dropped if key not in self.attempts and key not in wanted]
        self.workspace.journal.move(self.run_id, idle, StepState.CANCELLED, why)
        for key in dropped:
            self.schedule.set(key, Phase.CANCELLED)
            attempt = self.attempts.get(key)
            if attempt is not None and attempt.handle is not None:
                self.later(partial(self.compute.cancel, attempt.handle))
        self.workspace.runs.finish_cells(self.run_id, ended, state, why)

    def show_progress(self, attempt: Attempt) -> None:
        """Pass on what a running step has reported since the last look."""
        attempt.lines += attempt.tail.new_lines()
        for line in attempt.lines:
            if line["kind"] == "progress":
                progress = Progress(line["done"], line["total"], line["note"])
                self.later(partial(self.observer.progress, attempt.step, progress))
            elif line["kind"] == "curve":
                key = attempt.step.key
                self.later(partial(self.feed.curve, key, line["step"], line["values"]))
            elif line["kind"] == "warning":
                self.tell(attempt.step, "warning", line["message"])
                event = Event("step.warning", attempt.step.key, {"message": line["message"]})
                self.workspace.runs.tell(self.run_id, [event])
        self.later(attempt.lines.clear)


class ScratchCleaner:
    """Deletes scratch folders of finished steps, off the supervisor's thread."""

    def __init__(self, folder: Path) -> None:
        """Clean up in a workspace's scratch folder."""
        self._folder = folder
        self._queue: queue.SimpleQueue[tuple[str, int] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="cleaner", daemon=True)
        self._thread.start()

    def remove(self, step_key: str, newest: int) -> None:
        """Delete some time soon what attempts up to a number left; see `clean_up`."""
        self._queue.put((step_key, newest))

    def close(self) -> None:
        """Wait until all is deleted."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        is_open = True
        while is_open:
            waiting = [self._queue.get()]
            while not self._queue.empty():
                waiting.append(self._queue.get())
            clean_up(self._folder, dict(filter(None, waiting)))
            is_open = None not in waiting
