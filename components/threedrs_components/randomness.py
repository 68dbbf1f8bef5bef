"""Random initial weights that depend on a seed alone, also beside other threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

_GENERATOR = threading.RLock()
"""torch has one CPU generator per process, and steps may run in threads of one process."""


@contextmanager
def undisturbed() -> Iterator[None]:
    """Inside, no other thread makes initial weights.

    For code that swaps torch's initialisers for the whole process: weights that another thread
    made meanwhile would be whatever was in memory.
    """
    with _GENERATOR:
        yield


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, torch's random numbers start from the seed; outside, nothing has happened."""
    # Initial weights are made on the CPU; torch's own ways would open every GPU there is.
    with _GENERATOR, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def save_random_state(folder: Path, rank: int) -> None:
    """Keep this rank's generators; they matter only to models with dropout."""
    # Only of the GPU that is in use: to ask another would open it.
    gpu = torch.cuda.get_rng_state() if _gpu_is_open() else None
    torch.save({"cpu": torch.get_rng_state(), "gpu": gpu}, _path(folder, rank))


def load_random_state(folder: Path, rank: int) -> None:
    """Go on from kept generators; a rank that is new keeps its own."""
    if not _path(folder, rank).is_file():
        return
    state = torch.load(_path(folder, rank), weights_only=True)
    with _GENERATOR:
        torch.set_rng_state(state["cpu"])
        if state["gpu"] is not None and _gpu_is_open():
            torch.cuda.set_rng_state(state["gpu"])


def _gpu_is_open() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def _path(folder: Path, rank: int) -> Path:
    return folder / f"random-{rank}.pt"
