"""How fast training goes and how much memory it takes: curves that differ from run to run."""

from __future__ import annotations

import time

import psutil
import torch

GIB = 2**30


class Meter:
    """Counts tokens of all ranks between two reports of this process."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._tokens, self._since = 0.0, time.monotonic()

    def count(self, tokens: float) -> None:
        """Some more tokens have been learned from."""
        self._tokens += tokens

    def read(self) -> dict[str, float]:
        """Tokens per second since the last reading, and memory in GiB of this rank."""
        now = time.monotonic()
        rate = self._tokens / max(now - self._since, 1e-9)
        self._tokens, self._since = 0.0, now
        values = {
            "speed/tokens_per_second": rate,
            "memory/cpu_gib": psutil.Process().memory_info().rss / GIB,
        }
        if self._device.type == "cuda":
            values["memory/gpu_gib"] = torch.cuda.max_memory_allocated(self._device) / GIB
        return values
