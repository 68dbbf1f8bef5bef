"""Training on this machine, without a cluster: in this process, or in processes of its own."""

from __future__ import annotations

import datetime
import multiprocessing
import os
import pickle
import signal
import threading
import time
import traceback
import uuid
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import cast

import torch
from torch import distributed

from threedrs_components.devices import backend_for, device_for
from threedrs_components.training.checkpoints import forget_damaged
from threedrs_components.training.loop import Report, TrainingInputs, TrainingSummary, train
from threedrs_components.training.strategies import World
from threedrs_platform.errors import ConfigError, Fault, StepFailed, ThreedrsError
from threedrs_platform.memory import MemoryMarks, is_out_of_memory, memory_killed, memory_marks
from threedrs_platform.sealed import Warn

TIMEOUT = datetime.timedelta(minutes=30)
"""How long a rank waits for the others before it gives up."""
GRACE_S = 5.0
"""After one rank has failed: how long to hear from the others, whose failure may be the first."""


def train_here(
    inputs: TrainingInputs,
    *,
    report: Report,
    checkpoint_dir: Path,
    out: Path,
    gpus: float = 0,
    warn: Warn = warnings.warn,
) -> TrainingSummary:
    """Train with `training.workers` processes.

    One worker trains in this process, several in processes of their own. So does DeepSpeed: it
    leaves a process group and an accelerator behind that the next training could not use.

    Args:
        inputs: student, data, losses, loop.
        report: called here, with what the first rank reports.
        checkpoint_dir: shared by all ranks.
        out: folder for the trained student.
        gpus: how many were given; one for each worker, or none to train on the CPU.
        warn: told of a checkpoint that is damaged; training falls back to the one before.

    Raises:
        ConfigError: GPUs were given, but not one for each worker.
        StepFailed: a rank died without a word.
    """
    forget_damaged(checkpoint_dir, warn)
    size = inputs.training.workers
    if size == 1 and not inputs.training.strategy.startswith("deepspeed"):
        return train(
            inputs,
            report=report,
            checkpoint_dir=checkpoint_dir,
            out=out,
            world=World(),
            device=device_for(gpus),
        )
    _check_gpus(gpus, size)
    checkpoint_dir.mkdir(parents=True, exist_ok=True)
    store = checkpoint_dir / f"store-{uuid.uuid4().hex}"
    task = _Task(inputs, size, store.resolve(), checkpoint_dir, out, gpus)
    before = memory_marks()
    ranks: list[_Rank] = []
    try:
        ranks += (_start(task, rank) for rank in range(size))
        summary = _listen(ranks, report, before)
        for rank in ranks:
            rank.process.join(timeout=10)
        return summary
    finally:
        for rank in ranks:
            rank.process.kill()
            rank.process.join()
        store.unlink(missing_ok=True)


def root_cause(failures: Mapping[int, BaseException]) -> BaseException:
    """What went wrong in the first place: when one rank fails, the others lose their peer.

    Args:
        failures: by rank, at least one.
    """
    hungry = [rank for rank in failures if is_out_of_memory(failures[rank])]
    ours = [rank for rank in failures if isinstance(failures[rank], ThreedrsError)]
    rank = (hungry or ours or list(failures))[0]
    failures[rank].add_note(f"in rank {rank} of the training")
    return failures[rank]


def _check_gpus(gpus: float, size: int) -> None:
    if gpus and gpus != size and (size > 1 or gpus > 1):
        message = f"{size} workers train on {size} GPUs, one for each, or on none; {gpus:g} given"
        raise ConfigError([Fault(message, path="training.workers")])


@dataclass(frozen=True)
class _Task:
    """What every rank is told."""

    inputs: TrainingInputs
    size: int
    store: Path
    checkpoint_dir: Path
    out: Path
    gpus: float


@dataclass(frozen=True)
class _Rank:
    number: int
    process: BaseProcess
    messages: Connection


def _start(task: _Task, number: int) -> _Rank:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_run_rank, args=(task, number, there), daemon=True)
    process.start()
    there.close()  # the child has its own end; ours would keep the pipe open when it dies
    return _Rank(number, process, here)


def _listen(ranks: Iterable[_Rank], report: Report, before: MemoryMarks) -> TrainingSummary:
    """Pass reports on until every rank has ended; the first rank's summary.

    Raises:
        BaseException: what a rank raised; the others are not waited for.
    """
    running = {rank.messages: rank for rank in ranks}
    summaries: dict[int, TrainingSummary] = {}
    failures: dict[int, BaseException] = {}
    last = float("inf")
    while running and time.monotonic() < last:
        for messages in wait(list(running), GRACE_S if failures else None):
            rank = running[cast(Connection, messages)]
            content = _receive(rank, before)
            if isinstance(content, tuple):
                report(*content)
                continue
            del running[rank.messages]
            if isinstance(content, TrainingSummary):
                summaries[rank.number] = content
            else:
                failures[rank.number] = content
                last = min(last, time.monotonic() + GRACE_S)
    if failures:
        raise root_cause(failures)
    return summaries[0]


def _receive(
    rank: _Rank, before: MemoryMarks
) -> tuple[int, dict[str, float]] | TrainingSummary | BaseException:
    """A report, or how the rank ended."""
    try:
        content, where = rank.messages.recv()
    except EOFError:
        rank.process.join()
        code = rank.process.exitcode or 0
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        message = f"rank {rank.number} of the training ended {how}"
        if killed := memory_killed(before, memory_marks(), -code):
            return StepFailed(f"{message}: {killed}", "oom")
        return StepFailed(message, "infra")
    if isinstance(content, BaseException):
        content.add_note(where)
    return cast("tuple[int, dict[str, float]] | TrainingSummary | BaseException", content)


def _run_rank(task: _Task, rank: int, messages: Connection) -> None:
    """One rank, in a process of its own: everything it has to say goes through `messages`."""
    _end_with_parent()
    # Ranks share the CPUs; only an optimizer on the host has work for several threads.
    offloads = task.inputs.training.offload == "optimizer"
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // task.size) if offloads else 1)

    def report(step: int, values: dict[str, float]) -> None:
        messages.send(((step, values), ""))

    try:
        messages.send((_train_as(task, rank, report), ""))
    except BaseException as error:
        messages.send((_portable(error), traceback.format_exc()))


def _train_as(task: _Task, rank: int, report: Report) -> TrainingSummary:
    device = _own_device(task, rank)
    # DeepSpeed looks there for its device; what an earlier training left in it is not ours.
    os.environ["LOCAL_RANK"] = str(rank)
    distributed.init_process_group(
        backend_for(task.gpus),
        init_method=f"file://{task.store}",
        rank=rank,
        world_size=task.size,
        timeout=TIMEOUT,
    )
    try:
        return train(
            task.inputs,
            report=report,
            checkpoint_dir=task.checkpoint_dir,
            out=task.out,
            world=World(rank, task.size),
            device=device,
        )
    finally:
        distributed.destroy_process_group()


def _own_device(task: _Task, rank: int) -> torch.device:
    device = device_for(task.gpus)
    if device.type == "cpu":
        return device
    if torch.cuda.device_count() < task.size:
        message = f"{task.size} workers need as many GPUs, torch finds {torch.cuda.device_count()}"
        raise ConfigError([Fault(message, path="training.workers")])
    torch.cuda.set_device(rank)
    return torch.device("cuda", rank)


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
