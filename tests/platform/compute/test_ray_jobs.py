"""A run is left to a cluster: one job at a time for each, and no password on its way."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from threedrs_platform.compute import ray_jobs
from threedrs_platform.compute.clusters import ClusterLost
from threedrs_platform.compute.ray_jobs import RayJobs, entrypoint, passed_on
from threedrs_platform.errors import ConfigError


class FakeClient:
    """The job server of a cluster."""

    def __init__(self) -> None:
        self.jobs: dict[str, str] = {}
        self.asked: list[dict[str, Any]] = []
        self.refusal = ""
        self.message: str | None = None

    def get_job_status(self, job: str) -> SimpleNamespace:
        if job not in self.jobs:
            raise RuntimeError(f"Job {job} does not exist.")
        return SimpleNamespace(value=self.jobs[job])

    def submit_job(self, **asked: Any) -> None:
        if self.refusal:
            raise RuntimeError(self.refusal)
        self.asked.append(asked)
        self.jobs[asked["submission_id"]] = "PENDING"

    def get_job_info(self, _: str) -> SimpleNamespace:
        return SimpleNamespace(entrypoint="cd here\nexec python", message=self.message)

    def get_job_logs(self, job: str) -> str:
        return f"Running entrypoint for {job}: {self.get_job_info(job).entrypoint}\none\ntwo\n"


def supervised(jobs: RayJobs) -> str:
    return jobs.supervise("grid-1", ["resume", "grid-1"], (), {}, Path("/"))


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    made = FakeClient()
    monkeypatch.setattr(ray_jobs, "_client", lambda _: made)
    return made


def test_a_run_has_one_job_at_a_time(client: FakeClient) -> None:
    jobs = RayJobs("head:6379")
    assert supervised(jobs) == "threedrs-grid-1"
    assert supervised(jobs) == "threedrs-grid-1"
    assert len(client.asked) == 1 and jobs.ended("threedrs-grid-1") is None
    client.jobs["threedrs-grid-1"] = "FAILED"
    last_words = jobs.ended("threedrs-grid-1")
    assert last_words is not None and last_words.endswith("one\ntwo")
    assert "exec python" not in last_words, "what the shell was told is nobody's last word"
    assert supervised(jobs) == "threedrs-grid-1-2"


@pytest.mark.parametrize("error", [None, RuntimeError("500"), ConnectionError("reset")])
def test_why_a_job_could_not_begin_is_told_without_its_log(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch, error: Exception | None
) -> None:
    def no_logs(_: str) -> str:
        if error is not None:
            raise error
        return ""

    monkeypatch.setattr(client, "get_job_logs", no_logs)
    client.jobs["job"], client.message = "FAILED", "runtime_env setup failed: no room on the disk"
    assert RayJobs("head:6379").ended("job") == client.message


def test_a_job_of_which_nothing_is_told_is_over_all_the_same(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(_: str) -> None:
        raise RuntimeError("500")

    monkeypatch.setattr(client, "get_job_info", silent)
    client.jobs["job"] = "FAILED"
    assert RayJobs("head:6379").ended("job") == ""


def test_a_refused_job_is_told_with_its_reason(client: FakeClient) -> None:
    client.refusal = "status code 500: No available agent to submit job, please try again later."
    with pytest.raises(ClusterLost, match=r"job threedrs-grid-1: status .* agent's port"):
        supervised(RayJobs("head:6379"))
    client.refusal = "status code 400: no such environment"
    with pytest.raises(ClusterLost, match=r"no such environment$"):
        supervised(RayJobs("head:6379"))


def test_a_job_brings_its_code_along(client: FakeClient) -> None:
    packages = ("threedrs_platform", "threedrs_components")
    folder = Path("/home/me, too")
    command = ["resume", "grid 1"]
    RayJobs("head:6379").supervise("grid-1", command, packages, {"A": "b"}, folder)
    (asked,) = client.asked
    modules = asked["runtime_env"]["py_modules"]
    assert [each.rpartition("/")[2] for each in modules] == list(packages)
    assert asked["runtime_env"]["env_vars"] == {"A": "b"}


def test_a_cluster_without_a_job_server_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray_jobs, "_client", lambda _: None)
    with pytest.raises(ClusterLost, match="ray start --head --include-dashboard=true"):
        RayJobs("head:6379")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://me:secret@db/runs",
        "postgresql+psycopg://me:a/secret@db/runs",
        "postgresql://db/runs?password=secret",
    ],
)
def test_no_password_is_passed_on(url: str) -> None:
    with pytest.raises(ConfigError, match="THREEDRS_DATABASE_URL: holds a password") as told:
        passed_on({"THREEDRS_DATABASE_URL": url})
    assert "secret" not in str(told.value)
    clean = {"THREEDRS_DATABASE_URL": "postgresql://me@db/runs", "HOME": "/home/me"}
    assert list(passed_on(clean)) == ["THREEDRS_DATABASE_URL"]


def test_the_quicker_of_two_submits_the_job(client: FakeClient) -> None:
    def refuse(**asked: Any) -> None:
        client.jobs[asked["submission_id"]] = "RUNNING"
        raise RuntimeError("a job with this id exists")

    client.submit_job = refuse  # type: ignore[method-assign]
    assert supervised(RayJobs("head:6379")) == "threedrs-grid-1"


def test_a_job_that_the_cluster_does_not_take_is_told(client: FakeClient) -> None:
    def refuse(**_: Any) -> None:
        raise RuntimeError("no room for its code")

    client.submit_job = refuse  # type: ignore[method-assign]
    with pytest.raises(ClusterLost, match="does not take job threedrs-grid-1: no room"):
        supervised(RayJobs("head:6379"))


def test_the_head_runs_it_under_the_python_of_its_ray(tmp_path: Path) -> None:
    theirs, folder = tmp_path / "ray's" / "python", tmp_path / "a folder"
    theirs.parent.mkdir()
    folder.mkdir()
    theirs.write_text('#!/bin/sh\n[ "$1" = -c ] || echo "$PWD: $@"\n')
    theirs.chmod(0o755)
    (tmp_path / "entry").write_text(entrypoint(["-P", "resume", "it's"], folder))
    worker = tmp_path / "worker"
    worker.write_text(f'sh -c "$(cat {tmp_path}/entry)"\nexit $?\n')
    raylet = ["sh", "-c", 'sh "$1"; exit $?', "raylet", str(worker)]
    known = subprocess.run(
        [*raylet, f"--python_worker_command={theirs} setup_worker.py"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert known.stdout == f"{folder}: -P resume it's\n"
    unknown = subprocess.run(
        raylet, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}, check=False
    )
    assert unknown.returncode == 1 and "no Python that has Ray" in unknown.stderr
