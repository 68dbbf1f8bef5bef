"""Trials count while their steps would get the same keys today; others are measured again."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest

from threedrs_platform.database.studies import CELL, open_storage, study_names
from threedrs_platform.database.trials import StudyView
from threedrs_platform.identity import source_code
from threedrs_platform.workspace import Workspace
from threedrs_workflows.cli.tune_output import outcome_content, outcome_text
from threedrs_workflows.grid.cells import load_cells
from threedrs_workflows.grid.tune_arms import Tuning
from threedrs_workflows.testing.tuning_worker import FakeTrials, session_of
from threedrs_workflows.tuning.arm_study import ArmStudy, OpenTrial
from threedrs_workflows.tuning.files import write_files
from threedrs_workflows.tuning.session import Session, trials_out_of_date
from threedrs_workflows.tuning.trial_cells import TrialCells, measuring_keys

pytestmark = pytest.mark.whole

Tune = Callable[..., tuple[Session, list[StudyView]]]
Write = Callable[..., Path]
Edit = Callable[[str, str], None]

TRAIN = """
import json
from pathlib import Path
from threedrs_platform.records import Metric
from threedrs_edited.bonus import BONUS

def train(task):
    with Path(task.params["ledger"]).open("a") as ledger:
        ledger.write(json.dumps([task.params["cell"], task.params["seed"]]) + "\\n")
    task.metric(Metric("scanrefer/acc@0.25", BONUS + task.params["weight"], n=1))
    (task.out / "done.txt").write_text(str(BONUS))
"""
LIGHT, MIDDLE, HEAVY = 0.5, 2.0, 4.0
SPACE = {"alignment.weight": {"categorical": [LIGHT, MIDDLE, HEAVY]}}


@pytest.fixture
def edit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trials: FakeTrials) -> Iterator[Edit]:
    """Edits the code of the trainings of MIDDLE and HEAVY, as if in a process of its own."""
    package = tmp_path / "threedrs_edited"
    package.mkdir()

    def forget() -> None:
        source_code._package_folders.cache_clear()
        for name in [name for name in sys.modules if name.startswith("threedrs_edited")]:
            del sys.modules[name]

    def change(name: str, text: str) -> None:
        (package / f"{name}.py").write_text(text)
        monkeypatch.setattr(source_code, "_pinned", {})
        monkeypatch.setattr(source_code, "_loaded", {})
        forget()

    monkeypatch.syspath_prepend(str(tmp_path))
    change("__init__", "")
    change("train", TRAIN)
    change("bonus", "BONUS = 1000\n")
    trials.entry = "threedrs_edited.train:train"
    yield change
    forget()


@pytest.fixture
def grid(write: Write) -> Callable[..., Path]:
    """A search over three weights, each once."""
    return lambda **tune: write(**{"space": SPACE, "sampler": "grid", "trials": 3, **tune})


def values(study: StudyView) -> dict[float, float]:
    """Weight -> value."""
    return {row.params["alignment.weight"]: row.values[0] for row in study.trials if row.values}


def trained(ledger: Path) -> Counter[str]:
    """How often each cell was trained."""
    return Counter(json.loads(line)[0] for line in ledger.read_text().splitlines())


def tuning_of(path: Path) -> Tuning:
    found = load_cells(path).tuning
    assert found is not None
    return found


def test_what_edited_code_measured_is_measured_again_and_the_mixture_is_never_crowned(
    tune: Tune, grid: Callable[..., Path], edit: Edit, ledger: Path
) -> None:
    first, (before,) = tune(grid())
    assert before.best[0].values == (1004.0,)
    edit("bonus", "BONUS = 1\n")
    again, (after,) = tune(grid())
    assert values(after) == {LIGHT: values(before)[LIGHT], MIDDLE: 3.0, HEAVY: 5.0}
    assert after.best[0].params == {"alignment.weight": LIGHT}
    assert [row.params for row in after.trials] == [row.params for row in before.trials]
    assert [row.cell_id for row in after.trials] == [row.cell_id for row in before.trials]
    assert sorted(trained(ledger).values()) == [1, 2, 2], "the light training reaches no edit"
    assert again.run_id == first.run_id and after.counts == {"complete": 3}


def test_what_is_out_of_date_is_told_with_the_reason(
    tune: Tune, grid: Callable[..., Path], edit: Edit, workspace: Workspace, trials: FakeTrials
) -> None:
    tune(grid())
    edit("bonus", "BONUS = 1\n")
    workspace.code.forget()
    stale = trials_out_of_date(workspace, tuning_of(grid()), trials)
    assert [*stale["all"].values()] == ["code changed (finetune)"] * 2
    _, (study,) = tune(grid())
    assert dict(study.out_of_date) == stale["all"] and study.left_out == []
    text = outcome_text(study)
    assert "2 trials out of date: code changed (finetune)" in text
    assert "2 of them measured again" in text
    assert outcome_content(study)["out_of_date"]["trials"].keys() == set(map(str, stale["all"]))
    assert trials_out_of_date(workspace, tuning_of(grid()), trials) == {"all": {}}


def test_code_that_no_trial_reaches_may_be_edited(
    tune: Tune, grid: Callable[..., Path], edit: Edit, workspace: Workspace, ledger: Path
) -> None:
    _, (before,) = tune(grid())
    edit("unused", "BONUS = 1\n")
    edit("bonus", "BONUS = 1000  # a comment\n")
    _, (after,) = tune(grid())
    assert after == before and len(study_names(workspace)) == 1
    assert set(trained(ledger).values()) == {1}


def test_other_data_make_all_trials_out_of_date(
    tune: Tune, grid: Callable[..., Path], trials: FakeTrials, ledger: Path
) -> None:
    tune(grid())
    trials.data = "0a1b"
    _, (study,) = tune(grid())
    assert set(study.out_of_date.values()) == {'parameter data changed: "" to "0a1b" (finetune)'}
    assert set(trained(ledger).values()) == {2} and study.counts == {"complete": 3}


def test_going_back_to_old_code_finds_its_work_again(
    tune: Tune, grid: Callable[..., Path], edit: Edit, ledger: Path
) -> None:
    _, (before,) = tune(grid())
    edit("bonus", "BONUS = 1\n")
    tune(grid())
    edit("bonus", "BONUS = 1000\n")
    _, (after,) = tune(grid())
    assert values(after) == values(before)
    assert sorted(trained(ledger).values()) == [1, 2, 2]


def test_trials_beyond_the_budget_are_left_out_until_there_is_one(
    tune: Tune, grid: Callable[..., Path], trials: FakeTrials
) -> None:
    tune(grid())
    trials.data = "0a1b"
    _, (study,) = tune(grid(trials=1))
    assert [row.number for row in study.trials] == [row.number for row in study.best] == [0]
    assert study.left_out == [1, 2]
    assert "1 of them measured again, 2 left out until then" in outcome_text(study)
    trials.data = "2c3d"
    _, (study,) = tune(grid(trials=2))
    assert study.out_of_date.keys() == {0, 1, 2} and study.left_out == [2]
    _, (study,) = tune(grid())
    assert study.left_out == [] and study.counts == {"complete": 3}


def test_samplers_learn_nothing_from_what_is_out_of_date(
    tune: Tune, write: Write, trials: FakeTrials
) -> None:
    tune(write(trials=4))
    trials.data = "0a1b"
    session, (study,) = tune(write(trials=6))
    seen = session.studies[0]._study.get_trials()
    assert len(seen) == 6 == len(study.trials) and study.counts == {"complete": 6}
    assert study.out_of_date.keys() == {0, 1, 2, 3}


def test_trials_of_earlier_versions_are_told_again_without_work(
    tune: Tune, grid: Callable[..., Path], ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_cell(self: ArmStudy, trial: OpenTrial, cell_id: str, keys: Any) -> None:
        trial.trial.set_user_attr(CELL, cell_id)

    with monkeypatch.context() as earlier:
        earlier.setattr(ArmStudy, "remember_cells", only_cell)
        _, (before,) = tune(grid())
    assert not before.best and before.left_out == [0, 1, 2]
    _, (after,) = tune(grid())
    assert after.best and after.left_out == [] and len(after.out_of_date) == 3
    assert set(trained(ledger).values()) == {1}


def test_interrupted_trials_go_on_if_they_count_and_begin_again_if_not(
    tune: Tune, grid: Callable[..., Path], edit: Edit, workspace: Workspace, trials: FakeTrials
) -> None:
    path = grid(pruner="median")
    session = session_of(workspace, load_cells(path), trials)
    (study,) = session.studies
    for _ in range(3):
        asked = study.ask()
        assert asked is not None
        experiment = tuning_of(path).experiment(study.arm, asked.values)
        assert not isinstance(experiment, list)
        session.tuner._begin_trial(study, asked, experiment)
        study.report(asked, 1, 0.5)
    edit("bonus", "BONUS = 1\n")
    workspace.code.forget()
    (study,) = session_of(workspace, load_cells(path), trials).studies
    assert (study.left_open, study.asked) == (1, 1)
    first, *following = [trial for trial in (study.ask() for _ in range(3)) if trial is not None]
    assert first.reported == {1} and len(following) == 2, "what was reported of it is kept"
    assert [trial.reported for trial in following] == [set(), set()]
    assert {trial.values["alignment.weight"] for trial in following} == {MIDDLE, HEAVY}


def test_a_replacement_that_was_killed_half_way_is_made_again(
    tune: Tune, grid: Callable[..., Path], trials: FakeTrials, workspace: Workspace
) -> None:
    _, (before,) = tune(grid())
    storage = open_storage(workspace, before.facts.run)
    half = optuna.create_study(study_name=f"{before.name}@2", storage=storage, direction="maximize")
    half.tell(half.ask(), 1e6)
    trials.data = "0a1b"
    _, (after,) = tune(grid())
    assert (after.name, after.replaces) == (f"{before.name}@2", before.name)
    assert values(after) == values(before)


def test_best_settings_that_are_out_of_date_do_not_lie_around(
    tune: Tune, grid: Callable[..., Path], trials: FakeTrials, workspace: Workspace
) -> None:
    _, studies = tune(grid())
    path = write_files(workspace, tuning_of(grid()), studies).grid
    assert path is not None and path.exists()
    trials.data = "0a1b"
    (study,) = session_of(workspace, load_cells(grid()), trials).studies
    assert write_files(workspace, tuning_of(grid()), [study.view()]).grid is None
    assert not path.exists()


@pytest.mark.parametrize(
    ("metric", "roles"),
    [
        ("scanrefer/acc@0.25", {"0/score"}),
        ("probe/score", {"0/probe"}),
        (["scanrefer/acc@0.25", "probe/score"], {"0/score", "0/probe"}),
    ],
)
def test_the_steps_that_measure_a_trial_are_those_that_nothing_reads(
    write: Write, workspace: Workspace, metric: Any, roles: set[str]
) -> None:
    tuning = tuning_of(write(metric=metric))
    assert real_keys(workspace, tuning).keys() == roles


def test_budget_and_pruner_leave_all_trials_in_force(write: Write, workspace: Workspace) -> None:
    keys = real_keys(workspace, tuning_of(write()))
    others = tuning_of(write(trials=99, pruner="median", sampler="random", parallel=7))
    assert real_keys(workspace, others) == keys
    assert real_keys(workspace, tuning_of(write(held_out=0.3))) != keys


def real_keys(workspace: Workspace, tuning: Tuning) -> dict[str, str]:
    """Keys of a trial with the steps that cells really have."""
    values = {"alignment.weight": 2.0, "alignment.layers": [1]}
    experiment = tuning.experiment(tuning.arms[0], values)
    assert not isinstance(experiment, list)
    trial_cells = TrialCells(workspace, tuning)
    cells = trial_cells.make(tuning.arms[0], 0, values, experiment)
    return measuring_keys(trial_cells.graph(cells))
