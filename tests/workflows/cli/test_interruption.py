"""What a signal sets: an event that the interrupted thread itself may be waiting for."""

from __future__ import annotations

import signal
from itertools import count, takewhile
from threading import Thread
from time import monotonic

import pytest

from threedrs_workflows.cli.supervision import Interruption


@pytest.mark.timeout(60)
def test_a_signal_in_the_midst_of_waiting_stops_nothing_for_ever() -> None:
    """With the lock of a plain event this stands still within some hundred rounds."""
    before = signal.getsignal(signal.SIGALRM)
    end = monotonic() + 1
    try:
        for turn in takewhile(lambda _: monotonic() < end, count()):
            stop = Interruption()
            signal.signal(signal.SIGALRM, lambda *_, stop=stop: stop.set())
            signal.setitimer(signal.ITIMER_REAL, 3e-5 + turn % 50 * 1e-6)
            while not stop.wait(0.001):
                pass
            assert stop.is_set()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_all_that_wait_are_woken_and_without_a_signal_time_ends_it() -> None:
    stop = Interruption()
    assert not stop.wait(0) and not stop.is_set()
    found: list[bool] = []
    waiting = [Thread(target=lambda: found.append(stop.wait(30))) for _ in range(3)]
    for each in waiting:
        each.start()
    stop.set()
    for each in waiting:
        each.join(30)
    assert found == [True] * 3 and stop.wait(0)
