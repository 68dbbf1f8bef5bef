"""Runs that are left to a Ray cluster, whose job server is a stand-in here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from threedrs_platform.compute.clusters import ClusterLost
from threedrs_platform.database.runs import Submission
from threedrs_platform.states import RunState
from threedrs_platform.testing.fake_cells import fake_cell, fake_step
from threedrs_platform.workspace import Workspace, find_workspace
from threedrs_workflows.cli import elsewhere, main, ray_runs, resume, slurm_runs, supervision
from threedrs_workflows.plan import binding
from threedrs_workflows.plan.submission import plan_cells, record
from threedrs_workflows.slurm import commands
from threedrs_workflows.slurm.commands import QueuedJob

GRID = Path(__file__).parents[3] / "ablations.yaml"
CLUSTER = "head:6379"


class Cluster:
    """Takes jobs; what becomes of one is the test's to say."""

    def __init__(self) -> None:
        self.submitted: list[str] = []
        self.stopped: list[str] = []
        self.states: dict[str, str] = {}
        self.begins: Any = lambda run: None
        self.commands: list[list[str]] = []

    def supervise(self, run_id: str, command: list[str], *_: Any) -> str:
        job = f"job-{run_id}"
        if self.states.get(job) not in ("PENDING", "RUNNING"):
            self.submitted.append(job)
            self.commands.append(command)
            self.states[job] = "PENDING"
            self.begins(run_id)
        return job

    def state(self, job: str) -> str | None:
        return self.states.get(job)

    def ended(self, job: str) -> str | None:
        return "its last words" if self.states.get(job) in ("FAILED", "SUCCEEDED") else None

    def stop(self, job: str) -> bool:
        self.stopped.append(job)
        return True


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster that answers, and a folder to work in."""
    found = Cluster()
    for module in (ray_runs, elsewhere):
        monkeypatch.setattr(module, "RayJobs", lambda *_: found)
    for module in (supervision, resume):
        monkeypatch.setattr(module, "refuse_wrong_ray", lambda *_, **__: None)
    monkeypatch.setattr(ray_runs, "SETTLES_S", 0.05)
    monkeypatch.setattr(ray_runs, "BEGINS_S", 0.3)
    monkeypatch.setattr(ray_runs, "POLL_S", 0.02)
    cells = [fake_cell("cell", {"only": fake_step("measure")})]
    monkeypatch.setattr(binding, "bind_cells", lambda grid, files: cells)
    monkeypatch.setenv("THREEDRS_TRACKING", "off")
    for name in ("THREEDRS_WORKSPACE", "THREEDRS_DATABASE_URL", "THREEDRS_ARTIFACTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return found


def here() -> Workspace:
    return find_workspace(environment={})


def on_cluster(*words: str) -> int:
    return main(["submit", str(GRID), "--smoke", "--ray", CLUSTER, *words])


def begin(cluster: Cluster) -> None:
    """Have each job take its run at once."""

    def take(run_id: str) -> None:
        cluster.states[f"job-{run_id}"] = "RUNNING"
        with here() as workspace:
            workspace.runs.start(run_id, workspace.journal.owner, 60)

    cluster.begins = take


def test_submit_returns_once_a_job_of_the_cluster_has_the_run(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(cluster)
    assert on_cluster() == 0
    told = capsys.readouterr().out
    assert "is supervised by job job-" in told and f"at {CLUSTER}" in told
    assert "workflows wait" in told and "workflows cancel" in told
    (command,) = cluster.commands
    assert "--wait" in command and not any(word.endswith("/python") for word in command)
    run = command[command.index("resume") + 1]
    assert main(["resume", run, "--ray", CLUSTER]) == 0
    assert "is supervised already by job job-" in capsys.readouterr().out
    assert len(cluster.submitted) == 1
    assert main(["status"]) == 0
    assert f"job job-{run} at {CLUSTER}: running" in capsys.readouterr().out


def test_a_job_that_dies_at_once_is_not_told_as_supervising(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(cluster)
    take = cluster.begins

    def take_and_die(run_id: str) -> None:
        take(run_id)
        cluster.states[f"job-{run_id}"] = "FAILED"

    cluster.begins = take_and_die
    assert on_cluster() == 75
    told = capsys.readouterr().err
    assert "has ended without finishing the run" in told and "its last words" in told
    assert "workflows resume" in told and f"--ray {CLUSTER}" in told


def test_a_job_that_is_not_taken_leaves_a_run_to_go_on_with(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> str:
        raise ClusterLost("it takes no jobs now")

    monkeypatch.setattr(cluster, "supervise", refuse)
    assert on_cluster() == 75
    told = capsys.readouterr().err
    assert "takes no jobs now" in told and f"--ray {CLUSTER}" in told.partition("resume")[2]


def test_a_job_without_room_is_told_as_waiting_and_can_be_cancelled(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert on_cluster() == 0
    assert "waits for room" in capsys.readouterr().out
    assert main(["status"]) == 0
    assert ": queued" in capsys.readouterr().out
    with here() as workspace:
        run = workspace.runs.get("last").id
    assert main(["resume", run, "--ray", CLUSTER]) == 0
    assert len(cluster.submitted) == 1, "a second submission attaches to the first one's job"
    assert main(["cancel"]) == 0
    assert cluster.stopped == [f"job-{run}"]


def test_a_run_whose_job_is_gone_is_interrupted_and_resumed_there(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert on_cluster() == 0
    cluster.states.clear()
    capsys.readouterr()
    assert main(["wait"]) == 130
    assert f"--ray {CLUSTER}" in capsys.readouterr().out
    assert main(["status"]) == 0
    shown = capsys.readouterr().out
    assert ": interrupted" in shown and f"--ray {CLUSTER}" in shown


def test_without_a_job_server_this_process_stays(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(*_: Any) -> None:
        raise ClusterLost("takes no jobs")

    stayed: list[str] = []

    def work(args: Any, workspace: Workspace, run_id: str, plan: Any) -> int:
        stayed.append(run_id)
        return 0

    monkeypatch.setattr(ray_runs, "RayJobs", none)
    monkeypatch.setattr(supervision, "work", work)
    assert on_cluster() == 0 and len(stayed) == 1
    assert "this process stays with the run" in capsys.readouterr().err
    assert on_cluster("--no-wait") == 75 and len(stayed) == 1
    assert on_cluster("--wait") == 0 and len(stayed) == 2
    assert not cluster.submitted


def test_a_run_that_is_done_at_once_is_no_loss(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    def finish(run_id: str) -> None:
        cluster.states[f"job-{run_id}"] = "SUCCEEDED"
        with here() as workspace:
            workspace.runs.finish(run_id, workspace.journal.owner, RunState.SUCCEEDED, {})

    cluster.begins = finish
    assert on_cluster() == 0
    assert "job job-" in capsys.readouterr().out


@pytest.mark.parametrize("state", list(RunState))
def test_an_earlier_end_is_not_taken_for_the_work_of_a_job(
    cluster: Cluster, capsys: pytest.CaptureFixture[str], state: RunState
) -> None:
    run = recorded(state)

    def die(run_id: str) -> None:
        cluster.states[f"job-{run_id}"] = "FAILED"

    cluster.begins = die
    assert main(["resume", run, "--ray", CLUSTER]) == 75
    assert "its last words" in capsys.readouterr().err
    cluster.begins = lambda _: None
    assert main(["resume", run, "--ray", CLUSTER]) == 0
    assert "waits for room" in capsys.readouterr().out
    assert main(["wait", run, "--timeout", "0.01"]) == 75


def test_a_run_that_is_resumed_here_is_left_to_nobody(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert on_cluster() == 0
    assert main(["resume", "--ray", "none", "--no-report"]) == 0
    with here() as workspace:
        run = workspace.runs.get("last")
        assert elsewhere.elsewhere(run) is None
        assert elsewhere.how_to_resume(run).endswith(run.id)


def test_a_job_does_not_take_its_run_for_one_that_is_resumed_here(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert on_cluster() == 0
    monkeypatch.setenv(elsewhere.IN_JOB, elsewhere.RAY)
    assert main(["resume", "--ray", "none", "--no-report"]) == 0
    with here() as workspace:
        assert elsewhere.left_to(workspace.runs.get("last")) == elsewhere.RAY


def test_a_run_is_told_of_where_it_was_left_to_last_and_cancelled_at_both(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commands, "submit", lambda *_: "7")
    monkeypatch.setattr(commands, "queue", lambda _: [QueuedJob("7_0", "PENDING", "")])
    monkeypatch.setattr(commands, "cancel", lambda jobs: cancelled.extend(jobs))
    monkeypatch.setattr(slurm_runs, "refuse_missing_slurm", lambda: None)
    cancelled: list[str] = []
    assert on_cluster() == 0
    assert main(["resume", "--slurm", "--no-wait"]) == 0
    capsys.readouterr()
    assert main(["status"]) == 0
    assert "slurm jobs 7: 1 pending" in capsys.readouterr().out
    assert main(["resume", "--ray", CLUSTER]) == 0
    capsys.readouterr()
    assert main(["status"]) == 0
    told = capsys.readouterr().out
    assert f"at {CLUSTER}: pending" in told and "slurm" not in told
    assert main(["cancel"]) == 0
    assert cancelled == ["7"] and len(cluster.stopped) == 1


def test_no_cluster_is_asked_about_a_run_that_is_over(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert on_cluster() == 0
    with here() as workspace:
        run = workspace.runs.get("last").id
        workspace.runs.finish(run, workspace.journal.owner, RunState.SUCCEEDED, {})

    def asked(*_: Any) -> None:
        raise AssertionError("the cluster is asked")

    monkeypatch.setattr(elsewhere, "RayJobs", asked)
    assert main(["status"]) == 0


def recorded(state: RunState) -> str:
    """A run of one cell that was not computed, in some state."""
    with here() as workspace:
        plan = plan_cells(workspace, [fake_cell("cell", {"only": fake_step("measure")})])
        run = record(workspace, Submission("demo", "demo.yaml", "", {}), plan)
        if state is not RunState.RUNNING:
            workspace.runs.finish(run, workspace.journal.owner, state, {})
        return run


def test_slurm_is_named_where_a_run_is_told_how_to_go_on(tmp_path: Path) -> None:
    with find_workspace(str(tmp_path), environment={}) as workspace:
        plan = plan_cells(workspace, [fake_cell("cell", {"only": fake_step("measure")})])
        run = record(workspace, Submission("demo", "demo.yaml", "", {"slurm": []}), plan)
        assert elsewhere.how_to_resume(workspace.runs.get(run)).endswith("--slurm")
