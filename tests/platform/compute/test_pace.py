"""What is short waits in a queue, and its reports are taken in together."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from threedrs_platform.compute import in_process
from threedrs_platform.compute.attempts import AttemptReport, AttemptRequest
from threedrs_platform.compute.in_process import InProcessCompute
from threedrs_platform.compute.pace import KNOWN_SHORT, SHORT_S, Pace, spare
from threedrs_platform.steps import Resources
from threedrs_platform.store.open import StoreAddress

DONE = AttemptReport("d" * 64, seconds=0.001)


def request(number: int, kind: str = "link") -> AttemptRequest:
    values: dict[str, Any] = dict.fromkeys(
        ("label", "entry", "code", "code_cache", "scratch", "log_file", "live_file"), ""
    )
    values |= {name: {} for name in ("params", "settings", "inputs")}
    place = StoreAddress("", "")
    return AttemptRequest(f"s{number}", 1, kind, resources=Resources(), store=place, **values)


def test_a_kind_is_short_once_many_in_a_row_were() -> None:
    pace = Pace()
    for _ in range(KNOWN_SHORT - 1):
        pace.note("link", DONE)
    assert not pace.is_short("link")
    pace.note("link", DONE)
    assert pace.is_short("link") and not pace.is_short("training")
    assert pace.ahead("link") > 1.0 == pace.ahead("training")
    pace.note("link", AttemptReport("d" * 64, seconds=2 * SHORT_S))
    assert not pace.is_short("link")


@pytest.mark.parametrize(("running", "gathered"), [(1, 0), (4, 0), (10, 6)])
def test_reports_are_gathered_while_each_of_two_workers_has_one_to_follow(
    running: int, gathered: int
) -> None:
    assert spare(running, 2.0) == gathered


@pytest.fixture
def compute(monkeypatch: pytest.MonkeyPatch) -> InProcessCompute:
    """One job at a time, whose kind `link` is known to be short."""
    made = InProcessCompute(1)
    monkeypatch.setattr(in_process, "execute", lambda *_: DONE)
    for _ in range(KNOWN_SHORT):
        made._pace.note("link", DONE)
    return made


def test_in_one_process_only_what_is_short_waits_for_another(compute: InProcessCompute) -> None:
    compute.submit(request(0, "training"))
    assert compute.has_room(Resources(), kind="link")
    assert not compute.has_room(Resources(), kind="training")
    assert len(compute.wait(10.0)) == 1


def test_what_waits_is_executed_in_turn_and_reports_come_together(
    compute: InProcessCompute, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def execute(asked: AttemptRequest, *_: object) -> AttemptReport:
        order.append(asked.step_key)
        return DONE

    monkeypatch.setattr(in_process, "execute", execute)
    handles = compute.submit_all([request(number) for number in range(8)])
    first = compute.wait(10.0)
    assert len(first) >= 6
    rest = compute.wait(10.0) if len(first) < 8 else []
    assert [handle for handle, _ in [*first, *rest]] == handles
    assert order == [handle.step_key for handle in handles]


def test_what_was_cancelled_while_it_waited_is_not_executed(
    compute: InProcessCompute, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    executed: list[str] = []

    def execute(asked: AttemptRequest, *_: object) -> AttemptReport:
        executed.append(asked.step_key)
        goes_on.wait(10.0)
        return DONE

    monkeypatch.setattr(in_process, "execute", execute)
    compute.submit(request(0))
    waiting = compute.submit(request(1))
    compute.cancel(waiting)
    goes_on.set()
    reports = dict(compute.wait(10.0))
    while len(reports) < 2:
        reports |= dict(compute.wait(10.0))
    assert reports[waiting].cancelled and executed == ["s0"]
