"""Whoever waits for a verb waits from the start of its process."""

from __future__ import annotations

import time
from collections.abc import Iterator

from threedrs_workflows.cli.laps import Laps, process_start


def test_parts_follow_each_other_from_the_start_of_the_process() -> None:
    ticks: Iterator[float] = iter([106.0, 105.0, 145.0])
    laps = Laps(lambda: 100.0, lambda: next(ticks))
    assert [laps.end(part) for part in ("start", "load", "answer")] == [6.0, 0.0, 40.0]
    assert laps.text() == "46 s in all: 6.0 s to start, 0.0 s to load, 40 s to answer"


def test_the_process_began_before_its_tests() -> None:
    assert 0 < time.time() - process_start() < 86_400
