"""Attempts in threads of this process, and the interface that every place of execution has."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from threedrs_platform.compute.attempts import AttemptReport, AttemptRequest, execute
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

    def has_room(self, resources: Resources, before: Sequence[Resources] = ()) -> bool:
        """Whether one more attempt would start at once.

        Args:
            before: what attempts need that are about to be submitted before it.
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
    thread: threading.Thread
    cancelled: threading.Event = field(default_factory=threading.Event)


class InProcessCompute:
    """Runs attempts in threads of this process: no cluster, no copies, same results.

    A cancelled step ends at its next report; one that never reports runs on to its end.
    """

    name = "this process"

    def __init__(self, jobs: int = 1) -> None:
        """Take so many attempts at a time; more than one only if none draws random numbers."""
        self._jobs = jobs
        self._running: dict[Handle, _Running] = {}
        self._ended: queue.SimpleQueue[tuple[Handle, AttemptReport]] = queue.SimpleQueue()
        one_thread_per_step(os.environ)

    def refusal(self, resources: Resources) -> str | None:
        """Nothing is refused: the step itself finds out whether there is a GPU."""
        return None

    def has_room(self, resources: Resources, before: Sequence[Resources] = ()) -> bool:
        """Whether fewer than `jobs` attempts run."""
        return len(self._running) + len(before) < self._jobs

    def submit(self, request: AttemptRequest) -> Handle:
        """Start the attempt in a thread."""
        handle = Handle(request.step_key, request.attempt)
        running = _Running(threading.Thread(target=self._run, args=(handle, request), daemon=True))
        self._running[handle] = running
        try:
            running.thread.start()
        except RuntimeError:  # there is no memory for its stack
            self._ended.put((handle, NO_MEMORY))
        return handle

    def submit_all(self, requests: Sequence[AttemptRequest]) -> list[Handle]:
        """Start a thread for each."""
        return [self.submit(request) for request in requests]

    def wait(self, timeout_s: float) -> list[tuple[Handle, AttemptReport]]:
        """Take the reports of attempts that ended."""
        # Looked up first: whoever has ended by now has left a report by now, or never will.
        silent = [handle for handle, each in self._running.items() if not each.thread.is_alive()]
        ended = []
        try:
            ended.append(self._ended.get(timeout=0 if silent else timeout_s))
            while True:
                ended.append(self._ended.get_nowait())
        except queue.Empty:
            pass
        reported = {handle for handle, _ in ended}
        ended += [(handle, NO_MEMORY) for handle in silent if handle not in reported]
        for handle, _ in ended:
            del self._running[handle]
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
        for running in self._running.values():
            running.cancelled.set()
        for running in self._running.values():
            running.thread.join(patience_s)
        self._running.clear()

    def _run(self, handle: Handle, request: AttemptRequest) -> None:
        running = self._running[handle]
        report = execute(request, running.cancelled.is_set)
        if running.cancelled.is_set() and report.digest is None:
            report = replace(report, cancelled=True)
        self._ended.put((handle, report))
