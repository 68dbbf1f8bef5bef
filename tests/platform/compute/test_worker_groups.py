"""Steps that start a group of workers: what they hold, when they start, what they leave behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from threedrs_platform.compute.attempts import AttemptReport, AttemptRequest
from threedrs_platform.compute.ray_tasks import GIB, RayCompute
from threedrs_platform.identity.source_code import code_digest
from threedrs_platform.steps import Resources
from threedrs_platform.store.open import StoreAddress
from threedrs_platform.testing.fake_cells import FAKE

GROUP = Resources(cpus=8, gpus=8, memory_gib=64, workers=8)
PATIENCE_S = 60.0


class FakeRay:
    """Eight CPUs and eight GPUs, on which nothing ever ends."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 8.0, "GPU": 8.0, "memory": 100.0 * GIB}

    def options(self, **options: Any) -> FakeRay:
        self.asked.append(options)
        return self

    def remote(self, requests: list[AttemptRequest]) -> object:
        return requests[0].step_key


def request(root: Path, name: str, resources: Resources, function: str = "lead") -> AttemptRequest:
    entry = f"{FAKE}:{function}"
    return AttemptRequest(
        step_key=name,
        attempt=1,
        kind=function,
        label="",
        entry=entry,
        code=code_digest(entry).modules,
        code_cache=str(root / "code.json"),
        params={"gpus": 2, "seconds": 60 if name == "lost" else 0},
        settings={},
        inputs={},
        resources=resources,
        store=StoreAddress(str(root / "store"), str(root / "store")),
        scratch=str(root / name),
        log_file=str(root / f"{name}.log"),
        live_file=str(root / f"{name}.jsonl"),
    )


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> tuple[RayCompute, FakeRay]:
    compute, ray = RayCompute(), FakeRay()
    monkeypatch.setattr(compute, "_ray", ray)
    monkeypatch.setattr(compute, "_task", ray)
    return compute, ray


def test_the_task_of_a_group_holds_nothing(
    fake: tuple[RayCompute, FakeRay], tmp_path: Path
) -> None:
    compute, ray = fake
    compute.submit(request(tmp_path, "group", GROUP))
    compute.submit(request(tmp_path, "alone", Resources(gpus=1, memory_gib=2)))
    asked = [{k: v for k, v in each.items() if k != "name"} for each in ray.asked]
    assert asked == [
        {"num_cpus": 0, "num_gpus": 0},
        {"num_cpus": 1, "num_gpus": 1, "memory": 2 * GIB},
    ]


def test_a_second_group_waits_here_until_the_first_has_ended(
    fake: tuple[RayCompute, FakeRay], tmp_path: Path
) -> None:
    compute, _ = fake
    assert compute.has_room(GROUP)
    compute.submit(request(tmp_path, "group", GROUP))
    assert not compute.has_room(GROUP)
    assert not compute.has_room(Resources(gpus=1))


def test_a_group_never_waits_in_rays_queue_for_cpus(
    fake: tuple[RayCompute, FakeRay], tmp_path: Path
) -> None:
    """Single steps may, while steps are short."""
    compute, _ = fake
    for _ in range(20):
        compute._pace.note("short", AttemptReport("d" * 64, seconds=0.001))
    compute.submit(request(tmp_path, "one", Resources(cpus=1)))
    assert compute.has_room(Resources(cpus=8), kind="short")
    assert not compute.has_room(Resources(cpus=8), kind="unknown")
    assert not compute.has_room(Resources(cpus=8, workers=8), kind="short")


@pytest.fixture
def compute(ray_cluster: None) -> Iterator[RayCompute]:
    opened = RayCompute()
    yield opened
    opened.close()


@pytest.mark.ray
def test_a_killed_step_leaves_no_group_behind_that_keeps_its_gpus(
    compute: RayCompute, tmp_path: Path
) -> None:
    two = Resources(gpus=2, workers=2)
    handle = compute.submit(request(tmp_path, "lost", two))
    assert until(lambda: bool(list(tmp_path.glob("lost.attempt-*/work/gathered"))))
    assert free_gpus() == 0
    compute.cancel(handle)
    ((_, report),) = collect(compute)
    assert report.cancelled
    assert until(lambda: compute.has_room(two) and free_gpus() == 2)
    compute.submit(request(tmp_path, "next", two))
    ((_, report),) = collect(compute)
    assert report.digest is not None


def collect(compute: RayCompute) -> list[Any]:
    found: list[Any] = []
    end = time.monotonic() + PATIENCE_S
    while not found and time.monotonic() < end:
        found += compute.wait(0.5)
    return found


def free_gpus() -> float:
    import ray

    return float(ray.available_resources().get("GPU", 0))  # type: ignore[no-untyped-call]


def until(holds: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if holds():
            return True
        time.sleep(0.1)
    return False
