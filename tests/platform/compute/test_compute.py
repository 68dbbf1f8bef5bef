import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from threedrs_platform.compute import in_process
from threedrs_platform.compute.attempts import AttemptRequest
from threedrs_platform.compute.in_process import Compute, Handle, InProcessCompute
from threedrs_platform.compute.open import open_compute
from threedrs_platform.compute.ray_tasks import RayCompute
from threedrs_platform.compute.recorder import LiveTail
from threedrs_platform.errors import ConfigError
from threedrs_platform.identity.source_code import code_digest
from threedrs_platform.states import FailureClass
from threedrs_platform.steps import Resources
from threedrs_platform.store.open import StoreAddress
from threedrs_platform.testing.fake_cells import FAKE

PATIENCE_S = 60.0


@pytest.fixture(params=["none", pytest.param("local", marks=pytest.mark.ray)])
def compute(request: pytest.FixtureRequest) -> Iterator[Compute]:
    if request.param == "local":
        request.getfixturevalue("ray_cluster")
    opened = InProcessCompute(2) if request.param == "none" else open_compute("local", jobs=2)
    yield opened
    opened.close()


class Bench:
    """Makes requests below a folder and collects reports."""

    def __init__(self, compute: Compute, root: Path) -> None:
        self.compute, self.root = compute, root

    def request(self, function: str, attempt: int = 1, **params: Any) -> AttemptRequest:
        return AttemptRequest(
            step_key=f"{function}{attempt}",
            attempt=attempt,
            kind=function,
            label="",
            entry=f"{FAKE}:{function}",
            code=code_digest(f"{FAKE}:{function}").modules,
            code_cache=str(self.root / "code.json"),
            params=params,
            settings={},
            inputs={},
            resources=Resources(),
            store=StoreAddress(str(self.root / "store"), str(self.root / "store")),
            scratch=str(self.root / "scratch" / f"{function}{attempt}"),
            log_file=str(self.root / f"{function}{attempt}.log"),
            live_file=str(self.root / f"{function}{attempt}.jsonl"),
        )

    def collect(self, count: int) -> dict[str, Any]:
        reports: dict[str, Any] = {}
        end = time.monotonic() + PATIENCE_S
        while len(reports) < count and time.monotonic() < end:
            for handle, report in self.compute.wait(0.5):
                reports[handle.step_key] = report
        return reports


@pytest.fixture
def bench(compute: Compute, tmp_path: Path) -> Bench:
    return Bench(compute, tmp_path)


def test_attempts_run_and_report(bench: Bench) -> None:
    for attempt in range(4):
        bench.compute.submit(bench.request("measure", attempt, value=attempt))
    reports = bench.collect(4)
    assert sorted(report.metrics[0].value for report in reports.values()) == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.ray
def test_the_try_after_one_without_memory_has_a_process_of_its_own(
    ray_cluster: None, tmp_path: Path
) -> None:
    compute = RayCompute()
    bench = Bench(compute, tmp_path)
    for attempt, is_fresh in enumerate((False, True)):
        asked = bench.request("measure", attempt, value=attempt)
        compute.submit(replace(asked, fresh_process=is_fresh))
        (report,) = bench.collect(1).values()
        assert report.digest is not None
    compute.close()


def test_a_failure_is_a_report(bench: Bench) -> None:
    bench.compute.submit(bench.request("fail", error="data"))
    (report,) = bench.collect(1).values()
    assert report.failure is FailureClass.DATA and "no depth" in report.message


def test_room_is_limited(bench: Bench) -> None:
    handles: list[Handle] = []
    while bench.compute.has_room(Resources()) and len(handles) < 32:
        handles.append(bench.compute.submit(bench.request("crawl", len(handles), seconds=30)))
    assert 2 <= len(handles) <= 8 * max(2, os.cpu_count() or 1)
    for handle in handles:
        bench.compute.cancel(handle)
    reports = bench.collect(len(handles))
    assert all(report.cancelled for report in reports.values())
    assert len(reports) == len(handles) and bench.compute.has_room(Resources())


def test_waiting_for_nothing_ends_at_once_or_after_the_time_limit(bench: Bench) -> None:
    assert bench.compute.wait(0.01) == []


def test_progress_can_be_watched(bench: Bench) -> None:
    request = bench.request("crawl", seconds=1.5)
    handle = bench.compute.submit(request)
    tail, end = LiveTail(Path(request.live_file)), time.monotonic() + PATIENCE_S
    while not (lines := tail.new_lines()) and time.monotonic() < end:
        time.sleep(0.02)
    assert lines[0]["note"] == "crawling"
    bench.compute.cancel(handle)
    bench.collect(1)


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_worker_that_dies_is_an_infrastructure_failure(tmp_path: Path) -> None:
    compute = open_compute("local", jobs=2)
    bench = Bench(compute, tmp_path)
    compute.submit(bench.request("die"))
    (report,) = bench.collect(1).values()
    assert report.failure is FailureClass.INFRA and "died" in report.message
    compute.close()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_what_the_machine_never_has_is_refused() -> None:
    compute = open_compute("local", jobs=2)
    assert "64 GPU" in str(compute.refusal(Resources(gpus=64)))
    assert "GiB of memory" in str(compute.refusal(Resources(memory_gib=1e6)))
    assert compute.refusal(Resources(cpus=1000)) is None
    compute.close()


def test_ray_is_not_imported_before_the_first_attempt() -> None:
    had = "ray" in sys.modules
    compute = open_compute("local", jobs=2)
    compute.close()
    assert ("ray" in sys.modules) == had


def test_an_attempt_without_memory_for_a_report_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = InProcessCompute()
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    monkeypatch.setattr(in_process, "execute", lambda *_: 1 / 0)  # the thread ends without a word
    bench = Bench(compute, tmp_path)
    compute.submit(bench.request("noop"))
    (report,) = bench.collect(1).values()
    assert report.failure is FailureClass.OOM and compute.has_room(Resources())


def test_a_step_uses_one_thread() -> None:
    InProcessCompute()
    assert os.environ["OMP_NUM_THREADS"]


def test_an_empty_address_is_a_usage_error() -> None:
    with pytest.raises(ConfigError, match="--ray"):
        open_compute("", None)


def test_several_steps_at_a_time_in_one_process_are_refused() -> None:
    """They would draw from one stream of random numbers, in an order nobody can repeat."""
    with pytest.raises(ConfigError, match="one at a time; for several at a time use --ray local"):
        open_compute("none", 2)
    assert open_compute("none", 1).name == open_compute("none", None).name == "this process"
