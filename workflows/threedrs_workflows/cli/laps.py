"""How long a verb took, part by part, from the start of its process."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

from threedrs_workflows.cli.output import duration


def process_start() -> float:
    """When this process began, in seconds of the clock."""
    began: float = psutil.Process().create_time()
    return began


class Laps:
    """Parts of the time that whoever waits for a verb waits, one after the other."""

    def __init__(
        self, start: Callable[[], float] = process_start, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock, self._last = clock, start()
        self.seconds: dict[str, float] = {}
        """By part."""

    def end(self, part: str) -> float:
        """The seconds since the last part ended, or since the process began, are this one's."""
        now = self._clock()
        # The clock may have been set back.
        self.seconds[part] = max(0.0, now - self._last)
        self._last = now
        return self.seconds[part]

    def text(self) -> str:
        """`12 s in all: 5.1 s to start, 6.9 s to answer`."""
        parts = ", ".join(f"{duration(each)} to {part}" for part, each in self.seconds.items())
        return f"{duration(sum(self.seconds.values()))} in all: {parts}"
