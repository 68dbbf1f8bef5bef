"""Attempts as Ray tasks. All that the platform knows of Ray's API is here and in `ray_*` beside.

Ray is muscle only: it retries nothing (`max_retries=0`; the journal decides), passes only small
values (requests and reports), and starts no sooner than the first attempt is submitted.
"""

from __future__ import annotations

import math
import os
import subprocess
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from threedrs_platform.compute.attempts import AttemptReport, AttemptRequest
from threedrs_platform.compute.clusters import (
    ClusterLost,
    why_silent,
    within,
)
from threedrs_platform.compute.in_process import Handle, one_thread_per_step
from threedrs_platform.compute.pace import GATHER_S, Pace, spare
from threedrs_platform.compute.ray_attempts import Task, loss_report, run_attempts
from threedrs_platform.compute.ray_groups import remove_orphans
from threedrs_platform.compute.ray_start import (
    join,
    keep_off_stdout,
    signals_kept,
    start_local,
    use_private_token,
)
from threedrs_platform.errors import StorageError
from threedrs_platform.memory import MemoryMarks, memory_marks
from threedrs_platform.steps import Resources

Item = TypeVar("Item")
Result = TypeVar("Result")

GIB = 1 << 30
TOTALS_AGE_S, MARKS_AGE_S = 5.0, 0.1
SWEEP_S, SWEEP_EVERY_S = 60.0, 1.0
"""How long after the loss of a step its worker group may turn up without an owner."""
MOST_TOGETHER = 8
LOOK_EVERY_S = 2.0
"""How often a cluster is asked whether it is still there."""
SILENCE_S = 30.0
"""How long a cluster elsewhere may be silent before its attempts are given back."""
PATIENCE_S = 600.0
"""How long a lost cluster is waited for."""
MAX_RESTARTS, RESTARTS_WITHIN_S = 5, 3600.0
"""How often a local Ray is started again, and within what time."""
SHUTDOWN_S = 60.0
GIVEN_BACK = "its part of the cluster is gone"


class RayCompute:
    """Runs attempts on a local Ray that it starts, or on a cluster that it joins."""

    def __init__(self, address: str | None = None, jobs: int | None = None) -> None:
        """Remember which Ray is meant; it is joined or started with the first attempt.

        Args:
            address: of a running cluster; None starts Ray on this machine.
            jobs: how many attempts a local Ray should have room for, if more than it has CPUs.
        """
        self._address, self._jobs = address, jobs
        self._ray: Any = None
        self._task: Any = None
        self._tasks: dict[tuple[tuple[str, Any], ...], Any] = {}
        self._is_ours = False
        self._running: dict[Any, Task] = {}
        self._cancelled: set[Handle] = set()
        self._pace = Pace()
        self._alone: set[str] = set()
        """Steps that were in a task with others when its process ended."""
        self._totals: tuple[float, Mapping[str, float]] = (0.0, {})
        self._marked = (0.0, MemoryMarks())
        """When the counters of the memory killer were last read, and what they were."""
        self._sweep_until = self._swept = 0.0
        self._node: Any = None
        """Processes that a local Ray consists of."""
        self._looked, self._silent_since = 0.0, float("inf")
        self._gone = ""
        """Why the cluster is lost, from when that is known until it is restored."""
        self._restarts: deque[float] = deque()
        self._reaper: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        """Which Ray, for people."""
        return f"Ray at {self._address}" if self._address else "local Ray"

    def refusal(self, resources: Resources) -> str | None:
        """What this machine lacks; a cluster may still grow, so it is asked to."""
        if self._address is not None:
            return None
        totals = self._cluster()
        if resources.gpus > totals.get("GPU", 0.0):
            return f"it needs {resources.gpus:g} GPU, {self.name} has {totals.get('GPU', 0.0):g}"
        memory = totals.get("memory", 0.0) / GIB
        if (resources.memory_gib or 0.0) > memory:
            return f"it needs {resources.memory_gib:g} GiB of memory, {self.name} has {memory:.1f}"
        return None

    def has_room(
        self, resources: Resources, before: Sequence[Resources] = (), kind: str = ""
    ) -> bool:
        """Whether what runs leaves enough CPUs and GPUs. Something may always run.

        Short steps may wait in Ray's queue: workers would idle otherwise until we have taken in
        their last reports. A worker group waits here, not in Ray's queue, where it would give up
        after a while.
        """
        if self._gone:
            return False
        self._sweep()
        used = Counter(before)
        for task in self._running.values():
            used[task.resources] += len(task.handles)
        if not used:
            return True
        totals = self._cluster()
        cpus = sum(self._cpus(each) * count for each, count in used.items())
        gpus = sum(each.gpus * count for each, count in used.items())
        ahead = 1.0 if resources.workers > 1 else self._pace.ahead(kind)
        return cpus + self._cpus(resources) <= ahead * totals.get("CPU", 0.0) and (
            gpus + resources.gpus <= totals.get("GPU", 0.0) or not resources.gpus
        )

    def submit(self, request: AttemptRequest) -> Handle:
        """Start a Ray task."""
        self._connect()
        return self._start_task([request], self._marks())

    def submit_all(self, requests: Sequence[AttemptRequest]) -> list[Handle]:
        """Start Ray tasks: for an attempt each, or for several that are known to be short, whose
        way to a worker and back would take longer than they do.
        """
        if not requests:
            return []
        self._connect()
        marks, slots = self._marks(), 2 * max(1.0, self._cluster().get("CPU", 1.0))
        size = min(MOST_TOGETHER, math.ceil(len(requests) / slots))  # all workers have some
        together: dict[tuple[str, Resources], list[AttemptRequest]] = {}
        for request in requests:
            if size > 1 and self._may_share(request):
                together.setdefault((request.kind, request.resources), []).append(request)
            else:
                self._start_task([request], marks)
        for group in together.values():
            for first in range(0, len(group), size):
                self._start_task(group[first : first + size], marks)
        return [Handle(request.step_key, request.attempt) for request in requests]

    def _may_share(self, request: AttemptRequest) -> bool:
        wanted = request.resources
        is_plain = wanted == Resources(wanted.cpus) and not request.fresh_process
        is_short = self._pace.is_short(request.kind)
        return is_plain and is_short and request.step_key not in self._alone

    def _start_task(self, requests: Sequence[AttemptRequest], marks: MemoryMarks) -> Handle:
        first = requests[0]
        handles = tuple(Handle(each.step_key, each.attempt) for each in requests)
        task = self._with({"name": first.kind, **self._held(first.resources)})
        if first.fresh_process:  # Ray reuses a process for the same environment only
            name = f"{first.step_key}-{first.attempt}"
            options = {"name": first.kind, **self._held(first.resources)}
            options["runtime_env"] = {"env_vars": {"THREEDRS_ATTEMPT": name}}
            task = self._task.options(**options)
        reference = task.remote(list(requests))
        self._running[reference] = Task(handles, first.resources, first.kind, marks)
        return handles[0]

    def _held(self, resources: Resources) -> dict[str, Any]:
        """What the task itself holds: nothing, where a worker group takes it all."""
        if resources.workers > 1:
            return {"num_cpus": 0, "num_gpus": 0}
        held = {"num_cpus": self._cpus(resources), "num_gpus": resources.gpus}
        return held | ({"memory": int(resources.memory_gib * GIB)} if resources.memory_gib else {})

    def wait(self, timeout_s: float) -> list[tuple[Handle, AttemptReport]]:
        """Collect tasks that ended.

        Raises:
            ClusterLost: the cluster is gone, with all that ran.
        """
        if self._gone:
            raise ClusterLost(f"{self.name} is lost: {self._gone}")
        if not self._running:
            self._look()
            return []
        self._sweep()
        waiting = list(self._running)
        ended, _ = self._ray.wait(waiting, num_returns=1, timeout=timeout_s)
        if ended and len(waiting) > 1:  # `num_returns` is a maximum, too: ask for the others
            if (more := spare(len(waiting), self._cluster().get("CPU", 1.0))) > 1:
                self._ray.wait(waiting, num_returns=more, timeout=GATHER_S)
            ended, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
        if not ended:
            self._look()
        return [each for reference in ended for each in self._collect(reference)]

    def each(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results of a function over many items, as they come: work that no journal follows.

        Raises:
            StorageError: a worker died, twice.
            Exception: whatever the function raised.
        """
        self._connect()
        task = self._ray.remote(max_retries=1)(function)
        waiting = [task.remote(item) for item in items]
        try:
            while waiting:
                ended, waiting = self._ray.wait(waiting, num_returns=1)
                yield self._ray.get(ended[0])
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayError as error:
            raise StorageError(f"{self.name} lost a task: {type(error).__name__}") from error
        finally:
            for reference in waiting:
                self._ray.cancel(reference)

    def cancel(self, handle: Handle) -> None:
        """Kill the worker: a gentle cancel would wait for C code to return."""
        for reference, task in self._running.items():
            if handle in task.handles:
                self._cancelled.add(handle)
                self._ray.cancel(reference, force=True)

    def close(self) -> None:
        """Kill what runs, and stop Ray if it was started here."""
        for task in list(self._running.values()):
            if not self._gone:
                self.cancel(task.handles[0])
        self._let_go(self._is_ours)

    def restore(self) -> bool:
        """Start a lost local Ray again; join a lost cluster if it answers again.

        Returns:
            Whether it is back; if not, ask again in a moment.

        Raises:
            ClusterLost: it was lost too often, or has been waited for long enough.
        """
        now = time.monotonic()
        self._let_go(True)  # at once: Ray ends processes that miss their head for long
        if self._address is None:
            while self._restarts and now - self._restarts[0] > RESTARTS_WITHIN_S:
                self._restarts.popleft()
            if len(self._restarts) >= MAX_RESTARTS:
                raise ClusterLost(f"{self.name} was lost {MAX_RESTARTS + 1} times: {self._gone}")
            self._restarts.append(now)
        elif (why := why_silent(self._address)) is not None:
            if now - self._silent_since < PATIENCE_S:
                return False
            raise ClusterLost(f"{self.name} has not come back in {PATIENCE_S / 60:g} min: {why}")
        self._gone, self._silent_since, self._totals = "", float("inf"), (0.0, {})
        self._connect()
        return True

    def _let_go(self, shut_down: bool) -> None:
        self._running.clear()
        self._cancelled.clear()
        if shut_down and self._ray is not None:
            # Not in a thread while all is well: Ray's own handlers want the main one.
            if self._gone:
                within(SHUTDOWN_S, self._ray.shutdown)
            else:
                self._ray.shutdown()
        if shut_down and self._reaper is not None:
            if not self._gone:
                self._reaper.kill()
            self._reaper.communicate()
            self._reaper = None
        self._ray, self._node, self._is_ours = None, None, False

    def _look(self) -> None:
        """Ask now and then whether the cluster is still there; note it if it is lost."""
        now = time.monotonic()
        if self._ray is None or now - self._looked < LOOK_EVERY_S:
            return
        self._looked = now
        why = self._trouble()
        self._silent_since = min(self._silent_since, now) if why else float("inf")
        if why and (self._address is None or now - self._silent_since >= SILENCE_S):
            self._gone = why

    def _trouble(self) -> str | None:
        """What is wrong with the cluster right now."""
        if self._address is not None:
            return why_silent(self._address)
        dead = self._node.dead_processes() if self._node is not None else []
        vital = [name for name, _ in dead if name in ("raylet", "gcs_server")]
        return f"its {vital[0]} has ended" if vital else None

    def _collect(self, reference: Any) -> list[tuple[Handle, AttemptReport]]:
        task = self._running.pop(reference)
        try:
            reports: list[AttemptReport] = self._ray.get(reference)
        except Exception as error:
            reports = self._all_lost(task, error)
            if task.resources.workers > 1:
                self._sweep_until = time.monotonic() + SWEEP_S
        self._cancelled.difference_update(task.handles)
        for report in reports:
            self._pace.note(task.kind, report)
        return list(zip(task.handles, reports, strict=True))

    def _all_lost(self, task: Task, error: Exception) -> list[AttemptReport]:
        """Reports of a task that ended without any. Which of several was to blame shows once each
        is tried alone, so it costs none of them a try."""
        reports = [self._lost(handle, task, error) for handle in task.handles]
        if len(reports) == 1:
            return reports
        self._alone.update(handle.step_key for handle in task.handles)
        shared = AttemptReport(cancelled=True, message="the process that it shared has ended")
        return [each if each.cancelled else shared for each in reports]

    def _lost(self, handle: Handle, task: Task, error: Exception) -> AttemptReport:
        """The report of an attempt whose task ended without one."""
        exceptions, is_alone = self._ray.exceptions, len(task.handles) == 1
        was_cancelled = isinstance(error, exceptions.TaskCancelledError)
        if handle in self._cancelled or (is_alone and was_cancelled):
            return AttemptReport(cancelled=True, message="cancelled")
        if isinstance(error, exceptions.LocalRayletDiedError):
            self._gone = "its raylet has ended"
        elif not isinstance(error, exceptions.RayTaskError):
            self._gone = self._trouble() or ""
        if self._gone:
            self._silent_since = min(self._silent_since, time.monotonic())
        if self._gone or isinstance(error, exceptions.NodeDiedError):
            return AttemptReport(cancelled=True, message=GIVEN_BACK)
        self._marked = (0.0, MemoryMarks())  # what has killed this one kills no later one
        return loss_report(exceptions, error, task.marks)

    def _marks(self) -> MemoryMarks:
        """Counters of the memory killer of just now: a look takes as long as a short step."""
        now = time.monotonic()
        if now - self._marked[0] > MARKS_AGE_S:
            self._marked = (now, memory_marks())
        return self._marked[1]

    def _sweep(self) -> None:
        """For a while after a step was lost, remove what is left of its worker group."""
        now = time.monotonic()
        if now < self._sweep_until and now - self._swept > SWEEP_EVERY_S:
            self._swept = now
            remove_orphans(self._ray)

    def _with(self, options: dict[str, Any]) -> Any:
        """The task under these options, made once for all steps that share them."""
        known = tuple(options.items())
        if known not in self._tasks:
            self._tasks[known] = self._task.options(**options)
        return self._tasks[known]

    def _cpus(self, resources: Resources) -> float:
        """CPUs to ask for; a local Ray gives what the machine has, a small machine is just slow."""
        if self._address is not None:
            return resources.cpus
        return min(resources.cpus, self._cluster().get("CPU", resources.cpus))

    def _cluster(self) -> Mapping[str, float]:
        """Total resources, looked up now and then: a cluster may grow."""
        self._connect()
        age, totals = self._totals
        is_old = time.monotonic() - age > TOTALS_AGE_S and self._trouble() is None
        if is_old or not totals:
            totals = self._ray.cluster_resources()
            self._totals = (time.monotonic(), totals)
        return totals

    def _connect(self) -> None:
        if self._ray is not None:
            return
        one_thread_per_step(os.environ)
        if self._address is None:
            use_private_token(os.environ)
        import ray

        if not ray.is_initialized():
            self._is_ours = True
            with signals_kept():
                if self._address is None:
                    self._reaper = start_local(ray, self._jobs or 1)
                else:
                    join(ray, self._address)
        keep_off_stdout(ray)
        self._ray, self._node = ray, ray._private.worker._global_node
        # No retries by Ray: the journal must see every attempt, and decides by class of failure.
        self._task, self._tasks = ray.remote(max_retries=0)(run_attempts), {}
