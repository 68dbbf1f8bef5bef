"""Addresses of clusters: what is none is told in words, and soon."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from threedrs_platform.compute import ray_attempts, ray_start, ray_tasks
from threedrs_platform.compute.attempts import AttemptReport
from threedrs_platform.compute.clusters import ClusterLost, check_spelling, why_silent
from threedrs_platform.compute.open import check_ray
from threedrs_platform.compute.ray_attempts import Task
from threedrs_platform.compute.ray_reaper import processes_in, start_reaper
from threedrs_platform.compute.ray_tasks import MAX_RESTARTS, RayCompute
from threedrs_platform.errors import ConfigError
from threedrs_platform.memory import MemoryMarks
from threedrs_platform.states import FailureClass


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("locl", "did you mean 'local'"),
        ("nonne", "did you mean 'none'"),
        ("10.0.0.1", "HOST:PORT"),
        ("ray://head:10001", "Ray Client"),
        ("http://head:8265", "HOST:PORT"),
        ("head:http", "expected HOST:PORT"),
        ("head:99999", "expected HOST:PORT"),
        (":6379", "expected HOST:PORT"),
    ],
)
def test_what_is_no_address_is_refused(address: str, words: str) -> None:
    with pytest.raises(ConfigError, match="--ray: ") as told:
        check_spelling(address)
    assert words in str(told.value)


@pytest.mark.parametrize("address", ["local", "none", "auto", "head:6379", "[::1]:6379"])
def test_an_address_is_an_address(address: str) -> None:
    check_spelling(address)


@pytest.fixture
def guarded() -> Iterator[str]:
    """The address of a head that answers only who shows a token, as `ray start` makes them."""
    import grpc
    import ray
    from ray.core.generated import gcs_service_pb2

    def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
        if "authorization" not in dict(context.invocation_metadata()):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
        reply = vars(gcs_service_pb2)["CheckAliveReply"](ray_version=ray.__version__)
        return bytes(reply.SerializeToString())

    server = grpc.server(ThreadPoolExecutor(1))
    methods = {"CheckAlive": grpc.unary_unary_rpc_method_handler(answer)}
    handler = grpc.method_handlers_generic_handler("ray.rpc.NodeInfoGcsService", methods)
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


@pytest.mark.parametrize(("token", "words"), [("ab" * 32, "None"), (None, "refuses our token")])
def test_a_guarded_cluster_is_shown_the_token_of_the_user(
    guarded: str, tmp_path: Path, token: str | None, words: str
) -> None:
    if token is not None:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray/auth_token").write_text(token)
    program = (
        f"from threedrs_platform.compute import clusters; print(clusters.why_silent({guarded!r}))"
    )
    told = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env={**told, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert words in done.stdout


def test_nobody_is_asked_where_nothing_is_to_be_done() -> None:
    check_ray("127.0.0.1:1", needed=False)
    check_ray("local", needed=True)
    with pytest.raises(ClusterLost, match=r"--ray 127.0.0.1:1: .* refused; nothing was started"):
        check_ray("127.0.0.1:1", needed=True)


@pytest.fixture
def stranger() -> Iterator[str]:
    """A server that speaks another language."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n")
                connection.close()

        threading.Thread(target=answer, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_another_server_is_no_cluster(stranger: str) -> None:
    assert "is no Ray cluster" in str(why_silent(stranger))


def test_what_never_answers_is_given_up_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        assert "is no Ray cluster that is ready" in str(why_silent(address, patience_s=1.0))


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="there is no /proc")
def test_what_a_killed_owner_leaves_behind_is_ended(tmp_path: Path) -> None:
    log = tmp_path / "agent.log"
    with log.open("w") as file:
        agent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdout=file)
    assert processes_in(tmp_path) == [agent.pid]
    assert processes_in(tmp_path, {agent.pid}) == []
    reaper = start_reaper(str(tmp_path))
    reaper.communicate()
    assert agent.wait(10) == -signal.SIGKILL


class FakeExceptions:
    class RayTaskError(Exception):
        cause = MemoryError()

    class LocalRayletDiedError(Exception): ...

    class NodeDiedError(Exception): ...

    class WorkerCrashedError(Exception): ...

    class OutOfMemoryError(Exception): ...

    class TaskCancelledError(Exception): ...


class FakeRay:
    """A cluster on which one task has ended in the way that a test wants."""

    exceptions = FakeExceptions
    fault: Exception

    def wait(self, waiting: list[Any], **_: Any) -> tuple[list[Any], list[Any]]:
        return waiting[:1], waiting[1:]

    def get(self, _: Any) -> AttemptReport:
        raise self.fault

    def shutdown(self) -> None: ...


@pytest.fixture
def compute(monkeypatch: pytest.MonkeyPatch) -> RayCompute:
    made = RayCompute()
    monkeypatch.setattr(made, "_connect", lambda: None)
    monkeypatch.setattr(ray_attempts, "memory_marks", lambda: MemoryMarks(of_machine=4))
    return made


def end_with(
    compute: RayCompute, fault: Exception, kills: int = 4, steps: int = 1
) -> list[AttemptReport]:
    """The reports of a task of so many attempts that ended so."""
    from threedrs_platform.compute.in_process import Handle
    from threedrs_platform.steps import Resources

    compute._ray = FakeRay()
    compute._ray.fault = fault
    handles = tuple(Handle(f"step{number}", 1) for number in range(steps))
    marks = MemoryMarks(of_machine=kills)
    compute._running["task"] = Task(handles, Resources(), "noop", marks)
    return [report for _, report in compute.wait(0.0)]


@pytest.mark.parametrize(
    ("fault", "kills", "failure"),
    [
        (FakeExceptions.WorkerCrashedError("gone"), 4, FailureClass.INFRA),
        (FakeExceptions.WorkerCrashedError("gone"), 3, FailureClass.OOM),
        (FakeExceptions.OutOfMemoryError("watched"), 4, FailureClass.OOM),
        (FakeExceptions.RayTaskError("wrapped"), 4, FailureClass.OOM),
        (FakeExceptions.NodeDiedError("gone"), 4, None),
    ],
)
def test_a_lost_task_is_classed_by_what_is_known(
    compute: RayCompute, fault: Exception, kills: int, failure: FailureClass | None
) -> None:
    (report,) = end_with(compute, fault, kills)
    assert report.failure is failure and report.cancelled == (failure is None)


def test_steps_that_lost_a_process_together_lose_no_try_and_are_tried_alone(
    compute: RayCompute,
) -> None:
    reports = end_with(compute, FakeExceptions.WorkerCrashedError("gone"), steps=3)
    assert [(each.cancelled, each.failure) for each in reports] == [(True, None)] * 3
    assert compute._alone == {"step0", "step1", "step2"}


def test_a_cluster_that_is_gone_is_no_fault_of_its_attempts(compute: RayCompute) -> None:
    (report,) = end_with(compute, FakeExceptions.LocalRayletDiedError("dead"))
    assert report.cancelled and report.failure is None
    from threedrs_platform.steps import Resources

    assert not compute.has_room(Resources())
    with pytest.raises(ClusterLost, match="local Ray is lost: its raylet has ended"):
        compute.wait(0.0)
    assert compute.restore() and compute.wait(0.0) == []


def test_a_local_ray_is_not_started_for_ever(compute: RayCompute) -> None:
    for _ in range(MAX_RESTARTS):
        assert compute.restore()
    with pytest.raises(ClusterLost, match=f"was lost {MAX_RESTARTS + 1} times"):
        compute.restore()


def test_a_dead_part_of_a_local_ray_is_seen_without_asking_it(compute: RayCompute) -> None:
    compute._ray = FakeRay()
    compute._node = SimpleNamespace(dead_processes=lambda: [("gcs_server", None)])
    assert compute.wait(0.0) == []
    with pytest.raises(ClusterLost, match="gcs_server has ended"):
        compute.wait(0.0)


def test_a_silent_cluster_elsewhere_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """First as one that still works, then as one that is lost, then no more."""
    clock, answers = [1000.0], ["127.0.0.1:1 cannot be reached"]
    monkeypatch.setattr(ray_tasks, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(ray_tasks, "why_silent", lambda _: answers[-1])
    compute = RayCompute("127.0.0.1:1")
    monkeypatch.setattr(compute, "_connect", lambda: None)
    compute._ray = FakeRay()
    assert compute.wait(0.0) == []
    clock[0] += ray_tasks.SILENCE_S / 2
    assert compute.wait(0.0) == []
    clock[0] += ray_tasks.SILENCE_S
    assert compute.wait(0.0) == []
    with pytest.raises(ClusterLost, match="cannot be reached"):
        compute.wait(0.0)
    assert not compute.restore()
    clock[0] += ray_tasks.PATIENCE_S
    with pytest.raises(ClusterLost, match="has not come back in 10 min"):
        compute.restore()
    monkeypatch.setattr(ray_tasks, "why_silent", lambda _: None)
    assert compute.restore() and compute.wait(0.0) == []


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_our_signal_handlers_outlive_the_start_of_ray() -> None:
    def ours(*_: Any) -> None: ...

    before = signal.signal(signal.SIGTERM, ours)
    try:
        with ray_start.signals_kept():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        assert signal.getsignal(signal.SIGTERM) is ours
    finally:
        signal.signal(signal.SIGTERM, before)
