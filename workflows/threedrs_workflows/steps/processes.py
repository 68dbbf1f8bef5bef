"""Steps that spread their scenes over processes of one machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, TypeVar

from threedrs_platform.processes import spread
from threedrs_platform.steps import StepTask

SCENES_AT_ONCE = 4
"""What a process with a GPU takes at a time, where there are enough: the next scene is read while
it works on one."""
U = TypeVar("U")
Work = Callable[[Sequence[str]], Iterator[tuple[str, U]]]
"""Works on scenes one by one; yields each with what came of it."""


def cpu_processes(task: StepTask) -> int:
    """One for each CPU of the step, and no more than this machine has."""
    return max(1, min(int(task.settings.get("cpus") or 1), len(os.sched_getaffinity(0))))


def gpu_processes(task: StepTask) -> int:
    """One for each GPU of the step; one where it has none."""
    return max(1, int(task.settings.get("gpus") or 0))


def over_gpus(
    task: StepTask, make: Callable[[], Work[U]], scene_ids: Sequence[str]
) -> Iterator[tuple[str, U]]:
    """Each scene with what came of it: one by one here, or in a process for each GPU of the step.

    Args:
        task: is told how far the work is.
        make: opens, in each process, what the work needs; must be picklable.
        scene_ids: to work on.
    """
    processes, done, total = gpu_processes(task), 0, len(scene_ids)
    if processes == 1:
        for scene_id, result in make()(scene_ids) if scene_ids else ():
            done += 1
            task.progress(done, total, scene_id)
            yield scene_id, result
        return
    size = max(1, min(SCENES_AT_ONCE, total // processes))
    batches = [scene_ids[at : at + size] for at in range(0, total, size)]
    with closing(spread(_AtOnce(make), batches, processes, gpus=True)) as finished:
        for batch, results in finished:
            done += len(batch)
            task.progress(done, total, f"{batch[-1]}, on {processes} GPUs")
            yield from results


@dataclass(frozen=True)
class _AtOnce(Generic[U]):
    """Scenes of a batch all at once: no process hands over an iterator."""

    make: Callable[[], Work[U]]

    def __call__(self) -> Callable[[Sequence[str]], list[tuple[str, U]]]:
        work = self.make()
        return lambda scene_ids: [*work(scene_ids)]
