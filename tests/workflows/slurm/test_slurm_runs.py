"""Runs whose workers are Slurm jobs, on a stand-in of its commands."""

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from threedrs_platform.states import RunState, StepState
from threedrs_platform.testing.fake_cells import fake_cell, fake_step, fans
from threedrs_platform.workspace import Workspace, find_workspace
from threedrs_workflows.cli import main, slurm_runs
from threedrs_workflows.plan import binding
from threedrs_workflows.testing import slurm_stand_in

pytestmark = pytest.mark.whole

GRID = Path(__file__).parents[3] / "ablations.yaml"


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with the commands of a Slurm that starts processes here."""
    (tmp_path / "here").mkdir()
    environment = {"PATH": os.environ["PATH"]}
    jobs = slurm_stand_in.install(tmp_path / "slurm", environment)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("THREEDRS_TRACKING", "off")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    for name in ("THREEDRS_WORKSPACE", "THREEDRS_DATABASE_URL", "THREEDRS_ARTIFACTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path / "here")
    return jobs


def bind(monkeypatch: pytest.MonkeyPatch, cells: list[Any]) -> None:
    monkeypatch.setattr(binding, "bind_cells", lambda grid, files: cells)


def on_slurm(*words: str) -> int:
    return main(["submit", str(GRID), "--smoke", "--no-report", "--slurm", *words])


def here() -> Workspace:
    return find_workspace(environment={})


def test_a_run_is_done_by_jobs_and_ends_as_any_other(
    slurm: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bind(monkeypatch, fans(3, ledger=str(slurm.parents[1] / "ledger"), seconds=0.05))
    assert on_slurm("--slurm-jobs", "2") == 0
    assert (slurm.parents[1] / "ledger").read_text().count("\n") == 5
    capsys.readouterr()
    assert main(["status"]) == 0
    assert "slurm jobs 1: " in capsys.readouterr().out
    assert main(["logs", "last", "--slurm"]) == 0
    assert "1_0.log" in capsys.readouterr().out
    assert main(["wait"]) == 0


def test_cancelling_a_run_cancels_its_jobs(
    slurm: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    endless = fake_step("crawl", {"seconds": 600})
    bind(monkeypatch, [fake_cell("cell", {"endless": endless})])
    assert on_slurm("--no-wait") == 0
    assert main(["status"]) == 0
    assert "queued" in capsys.readouterr().out
    assert main(["cancel"]) == 0
    assert "Slurm jobs 1 are cancelled" in capsys.readouterr().err
    assert [(job / "state").read_text() for job in slurm.iterdir()] == ["CANCELLED"]
    with here() as workspace:
        run = workspace.runs.get("last")
        assert run.state is RunState.CANCELLED
        assert set(workspace.runs.cell_states(run.id).values()) == {StepState.CANCELLED}
    assert main(["wait"]) == 5


def test_jobs_that_still_queue_are_not_submitted_again(
    slurm: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bind(monkeypatch, [fake_cell("cell", {"endless": fake_step("crawl", {"seconds": 600})})])
    assert on_slurm("--no-wait") == 0
    assert main(["resume", "--slurm", "--no-wait"]) in (0, 7)
    told = capsys.readouterr()
    assert len(list(slurm.iterdir())) == 1, told.err
    assert main(["cancel"]) == 0


def test_what_slurm_refuses_is_told_with_the_steps_and_can_be_resumed(
    slurm: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bind(monkeypatch, [fake_cell("cell", {"only": fake_step("measure")})])
    assert on_slurm("--slurm-options", "--partition=nowhere") == 75
    told = capsys.readouterr().err
    assert "the jobs for measure were not submitted" in told and "invalid partition" in told
    assert "workflows resume" in told and "--slurm" in told


def test_without_slurm_that_is_told(
    slurm: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bind(monkeypatch, [fake_cell("cell", {"only": fake_step("measure")})])
    monkeypatch.setenv("PATH", "/nowhere")
    assert on_slurm() == 75
    assert "sbatch is not here" in capsys.readouterr().err
    with here() as workspace:
        assert workspace.runs.recent() == [], "a run without jobs would be left"


@pytest.mark.parametrize(("state", "are_cancelled"), [("partial", False), ("succeeded", True)])
def test_jobs_of_a_run_that_rests_are_left_to_end_their_steps(
    slurm: Path, monkeypatch: pytest.MonkeyPatch, state: str, are_cancelled: bool
) -> None:
    bind(monkeypatch, [fake_cell("cell", {"endless": fake_step("crawl", {"seconds": 600})})])

    def ended(watch: slurm_runs.RunWatch) -> bool:
        watch.run = replace(watch.workspace.runs.get("last"), state=RunState(state))
        return False

    monkeypatch.setattr(slurm_runs.RunWatch, "goes_on", ended)
    on_slurm()
    states = {(job / "state").read_text() for job in slurm.iterdir()}
    assert (states == {"CANCELLED"}) is are_cancelled
    assert main(["cancel"]) == 0


def test_flags_of_slurm_need_slurm(slurm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", str(GRID), "--no-wait"]) == 2
    assert "--no-wait: needs a cluster" in capsys.readouterr().err
