"""Several training processes on this machine, without a cluster: the twin of a worker group."""

from __future__ import annotations

import datetime
import multiprocessing
import uuid
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from torch import distributed

from threedrs_components.training.loop import Report, TrainingInputs, TrainingSummary, train
from threedrs_components.training.strategies import World

TIMEOUT = datetime.timedelta(minutes=30)
"""How long a rank waits for the others before it gives up."""


def train_here(
    inputs: TrainingInputs,
    *,
    report: Report,
    checkpoint_dir: Path,
    out: Path,
    device: torch.device | str = "cpu",
) -> TrainingSummary:
    """Train with `training.workers` processes; the first rank is this process."""
    size = inputs.training.workers
    if size == 1:
        return train(
            inputs,
            report=report,
            checkpoint_dir=checkpoint_dir,
            out=out,
            world=World(),
            device=device,
        )
    checkpoint_dir.mkdir(parents=True, exist_ok=True)
    store = checkpoint_dir / f"store-{uuid.uuid4().hex}"
    context = multiprocessing.get_context("spawn")
    others: list[BaseProcess] = [
        context.Process(
            target=_other_rank, args=(inputs, rank, size, store, checkpoint_dir, out), daemon=True
        )
        for rank in range(1, size)
    ]
    for process in others:
        process.start()
    try:
        return _as_rank(inputs, 0, size, store, report, checkpoint_dir, out)
    finally:
        for process in others:
            process.join(timeout=10)
            process.kill()
        store.unlink(missing_ok=True)


def _other_rank(
    inputs: TrainingInputs, rank: int, size: int, store: Path, checkpoint_dir: Path, out: Path
) -> None:
    torch.set_num_threads(1)
    _as_rank(inputs, rank, size, store, _say_nothing, checkpoint_dir, out)


def _as_rank(
    inputs: TrainingInputs,
    rank: int,
    size: int,
    store: Path,
    report: Callable[[int, dict[str, float]], None],
    checkpoint_dir: Path,
    out: Path,
) -> TrainingSummary:
    gpu = torch.cuda.is_available()
    device = torch.device(f"cuda:{rank}" if gpu else "cpu")
    distributed.init_process_group(
        "nccl" if gpu else "gloo",
        init_method=f"file://{store.resolve()}",
        rank=rank,
        world_size=size,
        timeout=TIMEOUT,
    )
    try:
        return train(
            inputs,
            report=report,
            checkpoint_dir=checkpoint_dir,
            out=out,
            world=World(rank, size),
            device=device,
        )
    finally:
        distributed.destroy_process_group()


def _say_nothing(step: int, values: dict[str, float]) -> None:
    """Only the first rank reports."""
