"""The ranks of a training that run on this machine, each in a process of its own."""

from __future__ import annotations

import contextlib
import datetime
import io
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from threedrs_components.devices import backend_for, device_for
from threedrs_components.training.loop import Report, TrainingInputs, TrainingSummary, train
from threedrs_components.training.strategies import World
from threedrs_platform.errors import ConfigError, Fault, StepFailed
from threedrs_platform.memory import MemoryMarks, memory_killed, memory_marks

TIMEOUT = datetime.timedelta(minutes=30)
"""How long a rank waits for the others before it gives up."""
END_S = 10.0
"""How long a rank that has said all may take to end."""

Content = tuple[int, dict[str, float]] | TrainingSummary | BaseException
"""What a rank says: a report; then how it ended."""
Tell = Callable[[int, Content], None]
"""Told the number of a rank and what it says."""


@dataclass(frozen=True)
class RankTask:
    """What every rank of a training is told."""

    inputs: TrainingInputs
    size: int
    meeting: Path | tuple[str, int]
    """Where ranks find each other: a file that does not exist yet, or host and port of a store."""
    checkpoint_dir: Path
    out: Path
    gpus: float
    """Of the whole training: one for each rank, or none."""
    log_file: Path | None = None
    """Beside it each rank leaves what it prints; None: it prints where its parent does."""


@dataclass(frozen=True)
class Place:
    """One rank among all, and among those of its machine."""

    rank: int
    device: int
    """Which of the machine's GPUs is its own."""
    beside: int
    """How many ranks share the machine's CPUs."""


def places(first: int, count: int, offset: int = 0, beside: int | None = None) -> list[Place]:
    """Places of ranks that follow on each other, on devices that do, too."""
    return [Place(first + n, offset + n, beside or count) for n in range(count)]


@contextlib.contextmanager
def running(task: RankTask, where: Sequence[Place], tell: Tell) -> Iterator[None]:
    """Ranks at work while the body runs; afterwards they are gone.

    Args:
        tell: called by threads, for each rank until it has ended.
    """
    before = memory_marks()
    ranks: list[_Rank] = []
    try:
        ranks += (_start(task, place) for place in where)
        for rank in ranks:
            threading.Thread(target=_relay, args=(rank, tell, before), daemon=True).start()
        yield
        last = time.monotonic() + END_S
        for rank in ranks:
            rank.process.join(max(0.0, last - time.monotonic()))
    finally:
        for rank in ranks:
            rank.process.kill()
            rank.process.join()


def log_of_rank(log_file: Path, rank: int) -> Path:
    """Where a rank of the attempt with this log leaves what it prints."""
    return log_file.with_suffix(f".rank-{rank}.log")


@dataclass(frozen=True)
class _Rank:
    number: int
    process: BaseProcess
    messages: Connection


def _start(task: RankTask, place: Place) -> _Rank:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=run_rank, args=(task, place, there), daemon=True)
    process.start()
    there.close()  # the child has its own end; ours would keep the pipe open when it dies
    return _Rank(place.rank, process, here)


def _relay(rank: _Rank, tell: Tell, before: MemoryMarks) -> None:
    """Pass on what a rank says until it has ended."""
    content: Content = (0, {})
    while isinstance(content, tuple):
        content = _receive(rank, before)
        tell(rank.number, content)


def _receive(rank: _Rank, before: MemoryMarks) -> Content:
    try:
        content, where = rank.messages.recv()
    except (EOFError, OSError):
        rank.process.join()
        code = rank.process.exitcode or 0
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        message = f"rank {rank.number} of the training ended {how}"
        if killed := memory_killed(before, memory_marks(), -code):
            return StepFailed(f"{message}: {killed}", "oom")
        return StepFailed(message, "infra")
    if isinstance(content, BaseException):
        content.add_note(where)
    told: Content = content
    return told


def run_rank(task: RankTask, place: Place, messages: Connection) -> None:
    """One rank, in a process of its own: everything it has to say goes through `messages`."""
    _end_with_parent()
    # Who stops a job may signal all its processes; when ranks end is for their parent to decide.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    if task.log_file is not None:
        _print_into(log_of_rank(task.log_file, place.rank))
    # Ranks share the CPUs; only an optimizer on the host has work for several threads.
    offloads = task.inputs.training.offload == "optimizer"
    cpus = len(os.sched_getaffinity(0)) if offloads else 1
    torch.set_num_threads(max(1, cpus // place.beside))

    def report(step: int, values: dict[str, float]) -> None:
        messages.send(((step, values), ""))

    try:
        messages.send((_train_as(task, place, report), ""))
    except BaseException as error:
        if task.log_file is not None:
            traceback.print_exc()
        messages.send((_portable(error), traceback.format_exc()))


def _train_as(task: RankTask, place: Place, report: Report) -> TrainingSummary:
    device = own_device(task, place)
    # DeepSpeed looks there for its device; what an earlier training left in it is not ours.
    os.environ["LOCAL_RANK"] = str(place.device)
    distributed.init_process_group(
        backend_for(task.gpus),
        store=_store(task.meeting, task.size),
        rank=place.rank,
        world_size=task.size,
        timeout=TIMEOUT,
    )
    try:
        return train(
            task.inputs,
            report=report,
            checkpoint_dir=task.checkpoint_dir,
            out=task.out,
            world=World(place.rank, task.size),
            device=device,
        )
    finally:
        distributed.destroy_process_group()


def _store(meeting: Path | tuple[str, int], size: int) -> Any:
    module: Any = distributed  # torch exports the classes without declaring them
    if isinstance(meeting, Path):
        return module.FileStore(str(meeting), size)
    return module.TCPStore(*meeting, is_master=False, timeout=TIMEOUT)


def own_device(task: RankTask, place: Place) -> torch.device:
    """The device of a rank.

    Raises:
        ConfigError: its machine has too few GPUs.
    """
    device = device_for(task.gpus)
    if device.type == "cpu":
        return device
    if torch.cuda.device_count() <= place.device:
        found = torch.cuda.device_count()
        here = f"{task.size} workers need as many GPUs, torch finds {found}"
        if place.beside != task.size:
            here = f"{place.beside} of the {task.size} workers are on this machine, where torch "
            here += f"finds {found} GPUs"
        raise ConfigError([Fault(here, path="training.workers")])
    torch.cuda.set_device(place.device)
    return torch.device("cuda", place.device)


def _print_into(file: Path) -> None:
    """Send all output of this process to a file, that of libraries, too."""
    with file.open("ab") as log:
        for number in (1, 2):
            os.dup2(log.fileno(), number)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True)


def _portable(error: BaseException) -> BaseException:
    """The error, or its text where it cannot leave its process."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return StepFailed(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent() -> None:
    """A step may be killed at once; what it started must not train on."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
