"""Short steps share Ray tasks; what is long, unknown or may end its process does not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ray import exceptions

from threedrs_platform.compute import ray_attempts
from threedrs_platform.compute.attempts import AttemptReport, AttemptRequest
from threedrs_platform.compute.pace import KNOWN_SHORT, SHORT_S
from threedrs_platform.compute.ray_tasks import MOST_TOGETHER, RayCompute
from threedrs_platform.states import FailureClass
from threedrs_platform.steps import Resources
from threedrs_platform.store.open import StoreAddress


class FakeRay:
    """Two CPUs; every task ends at once, each of its attempts after `seconds`."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.seconds = 0.001
        self.exceptions = exceptions
        self.ends_what_shares = False

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def options(self, **options: Any) -> FakeRay:
        return self

    def remote(self, requests: list[AttemptRequest]) -> int:
        self.sizes.append(len(requests))
        return len(self.sizes) - 1

    def wait(self, waiting: list[int], **_: Any) -> tuple[list[int], list[int]]:
        return waiting, []

    def get(self, number: int) -> list[AttemptReport]:
        if self.ends_what_shares and self.sizes[number] > 1:
            raise exceptions.WorkerCrashedError
        report = AttemptReport("d" * 64, seconds=self.seconds)
        return [report] * self.sizes[number]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> tuple[RayCompute, FakeRay]:
    compute, ray = RayCompute(), FakeRay()
    monkeypatch.setattr(compute, "_ray", ray)
    monkeypatch.setattr(compute, "_task", ray)
    return compute, ray


def request(number: int, **changes: Any) -> AttemptRequest:
    values: dict[str, Any] = {
        "step_key": f"step{number}",
        "attempt": 1,
        "kind": "link",
        "label": "",
        "entry": "m:f",
        "code": "",
        "code_cache": "",
        "params": {},
        "settings": {},
        "inputs": {},
        "resources": Resources(),
        "store": StoreAddress("", ""),
        "scratch": "",
        "log_file": "",
        "live_file": "",
    }
    return AttemptRequest(**values | changes)


def learn(fake: tuple[RayCompute, FakeRay], count: int = KNOWN_SHORT, seconds: float = 0.0) -> None:
    """Let so many steps end, one at a time."""
    compute, ray = fake
    ray.seconds = seconds
    for number in range(count):
        compute.submit(request(number))
        assert len(compute.wait(0.0)) == 1
    ray.sizes.clear()


def test_steps_known_to_be_short_share_tasks_and_every_one_reports(
    fake: tuple[RayCompute, FakeRay],
) -> None:
    compute, ray = fake
    learn(fake)
    handles = compute.submit_all([request(number) for number in range(40)])
    assert max(ray.sizes) == MOST_TOGETHER and sum(ray.sizes) == 40
    assert [handle for handle, _ in compute.wait(0.0)] == handles


def test_few_steps_are_shared_out_among_all_workers(fake: tuple[RayCompute, FakeRay]) -> None:
    compute, ray = fake
    learn(fake)
    compute.submit_all([request(number) for number in range(6)])
    assert ray.sizes == [2, 2, 2]


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "other"},
        {"fresh_process": True},
        {"resources": Resources(gpus=1)},
        {"resources": Resources(timeout_s=9)},
        {"resources": Resources(memory_gib=9)},
    ],
)
def test_what_is_unknown_or_special_has_a_task_of_its_own(
    fake: tuple[RayCompute, FakeRay], changes: dict[str, Any]
) -> None:
    compute, ray = fake
    learn(fake)
    compute.submit_all([request(number, **changes) for number in range(40)])
    assert set(ray.sizes) == {1}


def test_one_long_step_ends_the_sharing(fake: tuple[RayCompute, FakeRay]) -> None:
    compute, ray = fake
    learn(fake)
    learn(fake, 1, 2 * SHORT_S)
    compute.submit_all([request(number) for number in range(40)])
    assert set(ray.sizes) == {1}


def test_steps_whose_process_ended_lose_no_try_and_are_tried_alone(
    fake: tuple[RayCompute, FakeRay],
) -> None:
    compute, ray = fake
    learn(fake)
    ray.ends_what_shares = True
    compute.submit_all([request(number) for number in range(40)])
    ended = compute.wait(0.0)
    assert len(ended) == 40 and all(report.cancelled for _, report in ended)
    learn(fake)  # their kind is known to be short again
    compute.submit_all([request(number, attempt=2) for number in range(40)])
    assert set(ray.sizes) == {1}
    assert all(report.digest for _, report in compute.wait(0.0))


def test_a_task_executes_its_attempts_in_order_and_each_reports_for_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def execute(asked: AttemptRequest) -> AttemptReport:
        assert asked.own_process
        failure = FailureClass.BUG if asked.step_key == "step1" else None
        return AttemptReport(failure=failure, message=asked.step_key)

    monkeypatch.setattr(ray_attempts, "execute", execute)
    reports = ray_attempts.run_attempts(
        [replace(request(number), attempt=2) for number in range(3)]
    )
    assert [(each.message, each.failure) for each in reports] == [
        ("step0", None),
        ("step1", FailureClass.BUG),
        ("step2", None),
    ]
