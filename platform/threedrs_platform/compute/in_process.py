"""Attempts in threads of this process, and the interface that every place of execution has."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from threedrs_platform.compute.attempts import AttemptReport, AttemptRequest, execute
from threedrs_platform.compute.pace import GATHER_S, Pace, spare
from threedrs_platform.states import FailureClass
from threedrs_platform.steps import Resources

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""One thread per step: steps run side by side, and sums in one order give the same bits."""


@dataclass(frozen=True)
class Handle:
    """A submitted attempt."""

    step_key: str
    attempt: int


class Compute(Protocol):
    """Executes attempts side by side. Used by one thread."""

    @property
    def name(self) -> str:
        """For people: what kind of place this is."""
        ...

    def refusal(self, resources: Resources) -> str | None:
        """Why the resources can never be had here, None if they can."""
        ...

    def has_room(
        self, resources: Resources, before: Sequence[Resources] = (), kind: str = ""
    ) -> bool:
        """Whether one more attempt would start at once, or within a moment.

        Args:
            before: what attempts need that are about to be submitted before it.
            kind: of the attempt; of those that were short so far some may wait in a queue.
        """
        ...

    def submit(self, request: AttemptRequest) -> Handle:
        """Start an attempt."""
        ...

    def submit_all(self, requests: Sequence[AttemptRequest]) -> list[Handle]:
        """Start attempts, in the order in which they matter."""
        ...

    def wait(self, timeout_s: float) -> list[tuple[Handle, AttemptReport]]:
        """Attempts that ended; waits for the first of them at most `timeout_s`.

        Raises:
            ClusterLost: all that ran here is gone; see `restore`.
        """
        ...

    def cancel(self, handle: Handle) -> None:
        """Stop an attempt; it still shows up in `wait`."""
        ...

    def restore(self) -> bool:
        """Try to bring back what was lost; whether it is back.

        Raises:
            ClusterLost: it will not come back.
        """
        ...

    def close(self) -> None:
        """Stop everything and let go of the machines."""
        ...


def one_thread_per_step(environment: dict[str, str] | os._Environ[str]) -> None:
    """Set the thread counts of numeric libraries, unless the user has set them."""
    for name in THREAD_VARIABLES:
        environment.setdefault(name, "1")


NO_MEMORY = AttemptReport(
    failure=FailureClass.OOM, message="memory ran out, and not enough was left to say more"
)
"""The report of a thread that left none: only want of memory keeps it from that."""


@dataclass
class _Running:
    request: AttemptRequest
    cancelled: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    """What executes it; None while it waits."""

    @property
    def handle(self) -> Handle:
        """What it is called."""
        return Handle(self.request.step_key, self.request.attempt)

    @property
    def is_silent(self) -> bool:
        """Whether it has reported by now, or never will."""
        return self.thread is not None and not self.thread.is_alive()


class InProcessCompute:
    """Runs attempts in threads of this process: no cluster, no copies, same results.

    A cancelled step ends at its next report; one that never reports runs on to its end.
    """

    name = "this process"

    def __init__(self, jobs: int = 1) -> None:
        """Take so many attempts at a time; more than one only if none draws random numbers."""
        self._jobs = jobs
        self._pace = Pace()
        self._running: dict[Handle, _Running] = {}
        self._queue: deque[_Running] = deque()
        self._threads: set[threading.Thread] = set()
        """Those that will look into the queue once more."""
        self._hiring = threading.Lock()
        self._ended: queue.SimpleQueue[tuple[Handle, AttemptReport]] = queue.SimpleQueue()
        one_thread_per_step(os.environ)

    def refusal(self, resources: Resources) -> str | None:
        """Nothing is refused: the step itself finds out whether there is a GPU."""
        return None

    def has_room(
        self, resources: Resources, before: Sequence[Resources] = (), kind: str = ""
    ) -> bool:
        """Whether fewer than `jobs` attempts run; of what is known to be short some may wait."""
        ahead = self._pace.ahead(kind) if self._pace.is_short(kind) else 1.0
        return len(self._running) + len(before) < self._jobs * ahead

    def submit(self, request: AttemptRequest) -> Handle:
        """Start the attempt in a thread, or let one take it that is about to be free."""
        running = _Running(request)
        self._running[running.handle] = running
        with self._hiring:
            self._queue.append(running)
        self._hire()
        return running.handle

    def _hire(self) -> None:
        """Start threads for what waits, up to `jobs` of them."""
        with self._hiring:
            self._threads = {thread for thread in self._threads if thread.is_alive()}
            wanted = min(len(self._queue), self._jobs - len(self._threads))
            for _ in range(wanted):
                thread = threading.Thread(target=self._work, daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # there is no memory for its stack
                    self._ended.put((self._queue.pop().handle, NO_MEMORY))
                else:
                    self._threads.add(thread)

    def submit_all(self, requests: Sequence[AttemptRequest]) -> list[Handle]:
        """Submit each."""
        return [self.submit(request) for request in requests]

    def wait(self, timeout_s: float) -> list[tuple[Handle, AttemptReport]]:
        """Take the reports of attempts that ended."""
        # Looked up first: whoever has ended by now has left a report by now, or never will.
        silent = [handle for handle, each in self._running.items() if each.is_silent]
        ended = self._take(0 if silent else timeout_s, 1)
        if ended and (more := spare(len(self._running), self._jobs)) > len(ended):
            ended += self._take(GATHER_S, more - len(ended))
        reported = {handle for handle, _ in ended}
        ended += [(handle, NO_MEMORY) for handle in silent if handle not in reported]
        for handle, report in ended:
            self._pace.note(self._running.pop(handle).request.kind, report)
        self._hire()  # in place of threads that ended with their attempt
        return ended

    def _take(self, timeout_s: float, most: int) -> list[tuple[Handle, AttemptReport]]:
        """All reports that are there, and so many of those that come within a time."""
        ended: list[tuple[Handle, AttemptReport]] = []
        end = time.monotonic() + timeout_s
        try:
            while True:
                is_enough = len(ended) >= most
                rest_s = 0.0 if is_enough else max(0.0, end - time.monotonic())
                ended.append(self._ended.get(timeout=rest_s))
        except queue.Empty:
            return ended

    def restore(self) -> bool:
        """This process is never lost without its supervisor."""
        return True

    def cancel(self, handle: Handle) -> None:
        """Ask the step to stop at its next report."""
        if handle in self._running:
            self._running[handle].cancelled.set()

    def close(self, patience_s: float = 10.0) -> None:
        """Cancel what runs and give it a moment to stop."""
        with self._hiring:
            self._queue.clear()
            threads = list(self._threads)
        for running in self._running.values():
            running.cancelled.set()
        for thread in threads:
            thread.join(patience_s)
        self._running.clear()

    def _work(self) -> None:
        """Execute what waits, as long as something does."""
        while True:
            with self._hiring:
                if not self._queue:
                    self._threads.discard(threading.current_thread())
                    return
                running = self._queue.popleft()
                running.thread = threading.current_thread()
            self._ended.put((running.handle, _execute(running)))


def _execute(running: _Running) -> AttemptReport:
    if running.cancelled.is_set():
        return AttemptReport(cancelled=True, message="cancelled")
    report = execute(running.request, running.cancelled.is_set)
    if running.cancelled.is_set() and report.digest is None:
        report = replace(report, cancelled=True)
    return report
