"""The same on a real Slurm of one node: `pytest -m slurm` (slurm-wlm and munge; root)."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from threedrs_platform.database.runs import Submission
from threedrs_platform.states import RunState
from threedrs_platform.testing.fake_cells import fans
from threedrs_platform.workspace import Workspace, find_workspace
from threedrs_workflows.plan.submission import plan_cells, record
from threedrs_workflows.slurm.commands import QueuedJob, parse_queue
from threedrs_workflows.slurm.jobs import Asked, cancel_jobs, jobs_of, submit_jobs
from threedrs_workflows.testing.local_slurm import local_slurm, why_not

pytestmark = [pytest.mark.slurm, pytest.mark.skipif(bool(why_not()), reason=why_not())]
PATIENCE_S = 120.0


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A workspace beside a running Slurm, at a path with a blank."""
    # munge refuses a folder under one that others may write to, as pytest's may be.
    with (
        tempfile.TemporaryDirectory(prefix="slurm-") as folder,
        local_slurm(Path(folder) / "slurm", cpus=2) as configuration,
    ):
        monkeypatch.setenv("SLURM_CONF", str(configuration))
        monkeypatch.setenv("THREEDRS_TRACKING", "off")
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        place = tmp_path / "a workspace"
        place.mkdir()
        with find_workspace(str(place), environment={}) as found:
            yield found


def start(workspace: Workspace, seconds: float) -> str:
    """Submit a run of five steps to two jobs."""
    ledger = str(workspace.root / "ledger")
    plan = plan_cells(workspace, fans(3, ledger=ledger, seconds=seconds))
    run = record(workspace, Submission("demo", "demo.yaml", "", {}), plan)
    submit_jobs(workspace, workspace.runs.get(run), plan, Asked(most_jobs=2))
    return run


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.5)


def test_a_preempted_job_comes_again_and_the_run_ends(workspace: Workspace) -> None:
    run = start(workspace, seconds=2.0)
    wait_for((workspace.root / "ledger").exists)
    jobs = jobs_of(workspace.runs.get(run))
    assert jobs is not None
    running = [job.job for job in jobs.queued if job.state == "RUNNING"]
    for job in running:
        subprocess.run(["scancel", "--batch", "--signal=TERM", job], check=True)
    wait_for(lambda: all(job.state == "PENDING" for job in queued()))
    for each in queued():
        subprocess.run(["scontrol", "update", f"JobId={each.job}", "StartTime=now"], check=True)
    wait_for(lambda: workspace.runs.get(run).state is RunState.SUCCEEDED)


def test_cancelled_jobs_leave_the_queue(workspace: Workspace) -> None:
    run = start(workspace, seconds=60.0)
    told = cancel_jobs(workspace.runs.get(run))
    assert "are cancelled" in told
    wait_for(lambda: not queued())
    jobs = jobs_of(workspace.runs.get(run))
    assert jobs is not None and not jobs.may_work


def queued() -> list[QueuedJob]:
    """All that the queue has."""
    words = ["squeue", "--noheader", "--array", "--format=%i|%T|%r"]
    return parse_queue(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
