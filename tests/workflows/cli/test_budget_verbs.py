"""`resume --budget`: exit code 6 while the budget is too small, then on to the end."""

import json
from pathlib import Path

import pytest

from threedrs_platform.states import RunState
from threedrs_platform.steps import Resources
from threedrs_platform.testing.fake_cells import fake_cell, fake_step
from threedrs_platform.workspace import find_workspace
from threedrs_workflows.cli import main
from threedrs_workflows.cli.supervision import BUDGET
from threedrs_workflows.engine.budget import Budget
from threedrs_workflows.testing.engine_bench import Engine


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A paused run of two steps on GPUs, of which one is done."""
    monkeypatch.setenv("THREEDRS_TRACKING", "off")
    steps = [
        fake_step("crawl", {"seconds": 0.05, "seed": i}, Resources(gpus=1), kind="train")
        for i in range(2)
    ]
    cells = [fake_cell(f"cell-{i}", {"train": step}) for i, step in enumerate(steps)]
    budget = Budget(1e-5)
    with find_workspace(str(tmp_path), environment={}) as workspace:
        engine = Engine(workspace)
        assert engine.submit(cells, budget=budget, jobs=1) is RunState.PAUSED
        workspace.runs.set_option(engine.run_id, BUDGET, budget.as_option())
        engine.compute.close()
        return engine.run_id


def resume(folder: Path, run: str, *flags: str) -> int:
    return main(["resume", run, "--workspace", str(folder), "--ray", "none", "--no-report", *flags])


def test_a_spent_budget_ends_with_6_and_says_how_to_go_on(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert resume(tmp_path, run) == 6
    told = capsys.readouterr().out
    assert f"run {run} paused" in told and "of 1e-05 GPU-hours are spent; 1 steps are left" in told
    assert f"workflows resume {run} --budget 1" in told
    assert main(["status", run, "--workspace", str(tmp_path)]) == 0
    assert "its budget is spent" in capsys.readouterr().out
    assert main(["wait", run, "--workspace", str(tmp_path)]) == 6


def test_a_larger_budget_goes_on_and_is_remembered(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert resume(tmp_path, run, "--budget", "1", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["budget"]["gpu_hours"] == 1 and told["budget"]["spent"] > 0
    with find_workspace(str(tmp_path), environment={}) as workspace:
        assert workspace.runs.get(run).options[BUDGET]["gpu_hours"] == 1


def test_a_budget_of_nothing_is_refused(run: str, tmp_path: Path) -> None:
    assert resume(tmp_path, run, "--budget", "0") == 2
