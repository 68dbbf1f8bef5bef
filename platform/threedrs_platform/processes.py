"""Many items of one kind, worked on by several processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import SimpleQueue
from typing import Any, TypeVar

from threedrs_platform.errors import StepFailed
from threedrs_platform.fake_gpus import fake_gpus
from threedrs_platform.memory import memory_killed, memory_marks

T = TypeVar("T")
U = TypeVar("U")
Make = Callable[[], Callable[[T], U]]
"""Called once in each process: opens what the work needs, and returns the work."""
VISIBLE_GPUS = "CUDA_VISIBLE_DEVICES"
WATCH_S = 1.0
_make: Make[Any, Any]
_work: Callable[[Any], Any] | None = None


def spread(
    make: Make[T, U], items: Sequence[T], processes: int, *, gpus: bool = False
) -> Generator[tuple[T, U], None, None]:
    """Each item with what the work made of it, in the order in which they are done.

    One process works here, in the order of the items. Several are started anew (nothing is forked),
    take items as they become free, and end with this process or with the iteration.

    Args:
        make: must be picklable, as items and results must; see `Make`.
        items: what to work on.
        processes: how many at most.
        gpus: let each of several see one GPU of those that this process sees, in turn.

    Raises:
        StepFailed: a process was killed from outside; of class `oom` if that was for want of
            memory, or if nobody counts whether it was.
        Exception: what the work raised for the first item that failed; the others are given up.
    """
    processes = min(processes, len(items))
    if processes <= 1:
        work = make() if items else None
        yield from ((item, work(item)) for item in items if work is not None)
        return
    context = multiprocessing.get_context("spawn")
    places: SimpleQueue[str | None] = context.SimpleQueue()
    for number in range(processes):
        places.put(_gpu_of(number) if gpus else None)
    pool = ProcessPoolExecutor(processes, context, _start, (make, places, os.getpid()))
    waiting: dict[Future[U], T] = {}
    rest, before = iter(items), memory_marks()
    try:
        for item in rest:
            waiting[pool.submit(_call, item)] = item
            if len(waiting) >= 2 * processes:
                yield from _ended(waiting)
        while waiting:
            yield from _ended(waiting)
    except BrokenProcessPool as error:
        message = f"one of {processes} processes was killed from outside"
        killed = memory_killed(before, memory_marks(), None)
        if before.are_kept and not killed:
            raise StepFailed(message, "infra") from error
        raise StepFailed(
            f"{message}, {killed or 'most often for want of memory'}; "
            "fewer of them need less (steps.*.cpus, --workers)",
            "oom",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ended(waiting: dict[Future[U], T]) -> Iterator[tuple[T, U]]:
    """Results that are there; waits for the first."""
    done, _ = wait(waiting, return_when=FIRST_COMPLETED)
    for future in done:
        yield waiting.pop(future), future.result()


def _gpu_of(number: int) -> str | None:
    """The GPU of a process among those that are visible here, None where they are pretended."""
    if fake_gpus():
        return None
    names = [name for name in os.environ.get(VISIBLE_GPUS, "").split(",") if name]
    return names[number % len(names)] if names else str(number)


def _start(make: Make[T, U], places: SimpleQueue[str | None], parent: int) -> None:
    """Ready a process before its first item; torch looks at the variable when it first needs it."""
    global _make
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if (gpu := places.get()) is not None:
        os.environ[VISIBLE_GPUS] = gpu
    # Not called here: what an initializer raises reaches nobody.
    _make = make


def _end_with(parent: int) -> None:
    """A killed parent ends nobody: its children would wait for items for ever."""
    while os.getppid() == parent:
        time.sleep(WATCH_S)
    os._exit(1)


def _call(item: Any) -> Any:
    global _work
    if _work is None:
        _work = _make()
    return _work(item)
