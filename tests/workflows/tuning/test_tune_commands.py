"""The commands that `workflows tune` prints run what it has run, in any shell."""

from __future__ import annotations

import shlex
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from threedrs_platform.database.runs import Submission
from threedrs_platform.errors import ConfigError
from threedrs_platform.states import RunState
from threedrs_platform.steps import JSON
from threedrs_platform.workspace import Workspace
from threedrs_workflows.cli import tune
from threedrs_workflows.cli.tune import submit_line, tune_line
from threedrs_workflows.grid.cells import load_cells
from threedrs_workflows.grid.tune_arms import with_budget
from threedrs_workflows.tuning.partners import submission_name
from threedrs_workflows.tuning.session import open_session

SAID = Namespace(
    file=Path("my grid.yaml"),
    smoke=True,
    sets=["alignment.layers=[1]", "seeds=1,2"],
    where="teacher != 'mae'",
    workspace="/data/my runs",
)
PLAIN = Namespace(file=Path("grid.yaml"), smoke=False, sets=[], where=None, workspace=None)


def test_going_on_repeats_what_makes_the_search_and_its_budget(write: Callable[..., Path]) -> None:
    said = load_cells(write(trials=2), smoke=True).tuning
    assert said is not None
    assert shlex.split(tune_line(SAID, said, said)) == [
        "workflows", "tune", "my grid.yaml", "--smoke", "--set", "alignment.layers=[1]",
        "--set", "seeds=1,2", "--workspace", "/data/my runs", "--where", "teacher != 'mae'",
    ]  # fmt: skip
    assert tune_line(PLAIN, said, said) == "workflows tune grid.yaml"
    asked = with_budget(said, 40, None)
    assert tune_line(PLAIN, said, asked) == "workflows tune grid.yaml --trials 40"


def test_the_best_grid_is_submitted_in_the_same_sizes_to_the_same_workspace() -> None:
    assert shlex.split(submit_line(SAID, Path("/data/my runs/best.yaml"))) == [
        "workflows", "submit", "/data/my runs/best.yaml", "--smoke",
        "--set", "alignment.layers=[1]", "--workspace", "/data/my runs",
    ]  # fmt: skip
    assert submit_line(PLAIN, Path("best.yaml")) == "workflows submit best.yaml"


def test_retry_and_resume_go_on_with_the_search_as_it_was_asked_for(
    write: Callable[..., Path], workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(trials=2)
    tuning = load_cells(path, smoke=True).tuning
    assert tuning is not None
    options: dict[str, JSON] = {
        "tune": tuning.run, "smoke": True, "sets": [], "where": None,
        "budget": {"gpu_hours": 3.0, "expected": {}},
    }  # fmt: skip
    submission = Submission(submission_name(tuning.grid), str(path), "", options)
    session = open_session(workspace, with_budget(tuning, 7, None), submission)
    workspace.runs.finish(session.run_id, workspace.journal.owner, RunState.FAILED, {})
    asked: list[tuple[str, int, float, bool]] = []

    def work(args: Namespace, *rest: Any) -> int:
        _, _, wanted, budget, again = rest
        asked.append((wanted.run, wanted.section.trials, budget.gpu_hours, again is not None))
        return 0

    monkeypatch.setattr(tune, "_work", work)
    given = Namespace(failure=None, json=False)
    found = workspace.runs.get(session.run_id)
    assert tune.go_on(given, workspace, found) == tune.go_on(given, workspace, found, failed=True)
    assert asked == [(tuning.run, 7, 3.0, False), (tuning.run, 7, 3.0, True)]
    path.write_text(path.read_text().replace("10.0", "11.0"))
    with pytest.raises(ConfigError, match="no longer searches what run demo"):
        tune.go_on(given, workspace, found)
