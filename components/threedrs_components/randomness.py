"""Random initial weights that depend on a seed alone, also beside other threads."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
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
    # Of the GPUs only the one in use, if one is: torch's own way would open all that there are.
    cuda: Any = torch.cuda
    gpus = [cuda.current_device()] if cuda.is_initialized() else []
    with _GENERATOR, torch.random.fork_rng(devices=gpus):
        torch.default_generator.manual_seed(seed)
        if gpus:
            torch.cuda.manual_seed(seed)
        yield


def seed_of(*numbers: int) -> int:
    """A seed for one place among many, by its numbers; near places have unrelated ones."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
