"""How fast training goes and how much memory it takes: curves that differ from run to run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import torch

GIB = 2**30


class Meter:
    """Counts tokens of all ranks between two reports of this process."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._tokens, self._waited, self._since = 0.0, 0.0, time.monotonic()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, this process has nothing to compute with."""
        started = time.monotonic()
        yield
        self._waited += time.monotonic() - started

    def count(self, tokens: float) -> None:
        """Some more tokens have been learned from."""
        self._tokens += tokens

    def read(self) -> dict[str, float]:
        """Since the last reading: tokens per second, share of time spent waiting; memory in GiB."""
        now = time.monotonic()
        seconds = max(now - self._since, 1e-9)
        rate, waited = self._tokens / seconds, self._waited / seconds
        self._tokens, self._waited, self._since = 0.0, 0.0, now
        values = {
            "speed/tokens_per_second": rate,
            "speed/data_wait": waited,
            "memory/cpu_gib": psutil.Process().memory_info().rss / GIB,
        }
        if self._device.type == "cuda":
            values["memory/gpu_gib"] = torch.cuda.max_memory_allocated(self._device) / GIB
        return values
