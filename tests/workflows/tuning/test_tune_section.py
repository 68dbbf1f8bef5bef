"""What may stand in a `tune:` section, and what is said about what may not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from threedrs_platform.errors import ConfigError
from threedrs_workflows.grid.cells import load_cells
from threedrs_workflows.grid.tune_arms import Tuning

Write = Callable[..., Path]
RATE = {"training.learning_rate": {"float": [1e-4, 1e-2], "log": True}}


def faults(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_cells(path)
    return [f"{fault.line}: {fault.message}" for fault in caught.value.faults]


def tuning(path: Path, **options: Any) -> Tuning:
    found = load_cells(path, **options).tuning
    assert found is not None
    return found


def test_all_faults_are_told_at_once_each_in_its_line(write: Write) -> None:
    path = write(
        space={
            "aligment.weight": {"float": [0.1, 1]},
            "training.learning_rate": {"flaot": [0.1, 1]},
            "correspondence.weight": {"float": [-1, 1.0]},
        },
        metric="scanrefr/acc@0.25",
        sampler="tp",
    )
    lines = path.read_text().splitlines()
    found = faults(path)
    for where, what in (
        ("aligment.weight", "did you mean 'alignment.weight'?"),
        ("flaot", "unknown key 'flaot'; did you mean 'float'?"),
        ("- -1", "at least 0.0, got -1"),
        ("metric:", "did you mean 'scanrefer'?"),
        ("sampler:", "did you mean 'tpe'?"),
    ):
        line = next(number for number, text in enumerate(lines, 1) if where in text)
        assert any(each.startswith(f"{line}: ") and what in each for each in found), (what, found)
    assert len(found) == 5


@pytest.mark.parametrize(
    ("dimension", "message"),
    [
        (3, r"expected \{float"),
        ({"float": [1, 1]}, "low must be below high"),
        ({"float": [0, 1], "log": True}, "above 0"),
        ({"float": [1, 2], "log": True, "step": 0.5}, "exclude each other"),
        ({"float": [1, 2], "step": 3}, "does not fit between"),
        ({"int": [1.5, 2]}, "two whole numbers"),
        ({"log": True}, "needs one of float, int, categorical"),
        ({"float": [1, 2], "int": [1, 2]}, "needs one of"),
        ({"categorical": [1]}, "at least two"),
        ({"categorical": [1, 1.0]}, "listed twice"),
        ({"categorical": [1, 2], "log": True}, "belongs to numbers"),
    ],
)
def test_a_dimension_must_be_one(write: Write, dimension: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_cells(write(space={**RATE, "alignment.weight": dimension}))


@pytest.mark.parametrize("path", ["training.steps", "benchmarks.split", "scenes.text", "held_out"])
def test_what_trials_are_measured_with_cannot_be_tuned(write: Write, path: str) -> None:
    with pytest.raises(ConfigError, match=f"{path} cannot be tuned"):
        load_cells(write(space={**RATE, path: {"categorical": [1, 2]}}))


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_evaluated_split_is_refused(write: Write, split: str) -> None:
    with pytest.raises(ConfigError, match=f"may not be judged on '{split}'.*tune.held_out"):
        load_cells(write(on_split=split))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": ["scanqa/em@1", "scanrefer/acc@0.5"], "pruner": "median"}, "no common order"),
        ({"sampler": "cmaes"}, "cmaes searches numbers, not alignment.layers"),
        ({"sampler": "grid"}, "grid needs a `step` or choices for alignment.weight"),
        ({"direction": ["maximize", "minimize"]}, "2 directions for 1 metrics"),
        ({"watch": "validation/los"}, "did you mean 'validation/loss'"),
        ({"arms": ["alignment.weight"]}, "tells the arms apart"),
        ({"arms": ["training.steps"]}, "arms cannot differ in training.steps"),
        ({"metric": "scanrefer"}, "say which of scanrefer's numbers"),
        ({"held_out": 0}, "greater than 0|above 0|more than 0"),
    ],
)
def test_what_does_not_go_together_is_refused(
    write: Write, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_cells(write(**changes))


def test_an_arm_without_anything_to_tune_is_refused(write: Write) -> None:
    path = write(arms=["teacher"], sections={"ablate": {"factors": {"teacher": ["none"]}}})
    with pytest.raises(ConfigError, match="nothing of the space has an effect where teacher=none"):
        load_cells(path)


def test_an_arm_searches_what_has_an_effect_in_it(write: Write) -> None:
    path = write(
        space={**RATE, "alignment.weight": {"float": [0.0, 3.0]}},
        arms=["teacher"],
        sections={"ablate": {"factors": {"teacher": ["none", "mae"]}}},
    )
    found = {arm.name: [each.path for each in arm.dimensions] for arm in tuning(path).arms}
    assert found["teacher=none"] == ["training.learning_rate"]
    assert found["teacher=mae"] == ["training.learning_rate", "alignment.weight"]


def test_an_arm_is_called_as_the_grid_calls_its_one_cell(write: Write) -> None:
    rates = [{"training.learning_rate": rate, "label": str(rate)} for rate in (1e-3, 2e-3)]
    named = {"include": [{"teacher": "mae", "label": "2D"}, *rates]}
    arms = tuning(write(arms=["teacher"], space=RATE, sections=named)).arms
    assert sorted(arm.title for arm in arms) == ["2D", "teacher=vggt"]


def test_an_arm_that_is_not_its_cell_is_refused(write: Write) -> None:
    rate = {"training.learning_rate": 2e-3}
    cell = {"teacher": "mae", "alignment.weight": 2.0, **rate, "label": "2D"}
    settings = {"arms": ["teacher", "alignment.weight"], "space": RATE}
    assert tuning(write(**settings, sections={"include": [cell]})).arms[-1].title == "2D"
    other = {**cell, "alignment.layers": [1]}
    (told,) = faults(write(**settings, sections={"include": [other]}))
    assert "2D: its cell differs from the base in alignment.layers, too, which" in told


def test_where_takes_arms_away(write: Write) -> None:
    path = write(arms=["teacher"], sections={"ablate": {"factors": {"teacher": ["mae"]}}})
    assert [arm.name for arm in tuning(path, where="teacher == 'mae'").arms] == ["teacher=mae"]


def test_a_trial_is_held_out_and_looks_only_for_a_pruner(write: Write) -> None:
    for pruner, looks in (("none", 0), ("median", 38)):
        found = tuning(write(pruner=pruner))
        experiment = found.experiment(found.arms[0], {"alignment.weight": 2.0})
        assert not isinstance(experiment, list)
        assert (experiment.held_out, experiment.training.validate_every) == (0.2, looks)


def test_budget_and_pruner_do_not_change_the_name_but_the_search_does(write: Write) -> None:
    name = tuning(write()).run
    assert tuning(write(trials=99, pruner="median", sampler="random", parallel=7)).run == name
    assert tuning(write(held_out=0.3)).run != name
    assert tuning(write(seeds=[1])).run != name
    assert tuning(write(space=RATE)).run != name


def test_the_section_changes_no_cell(write: Write) -> None:
    one, other = load_cells(write()), load_cells(write(trials=3, held_out=0.5))
    assert [cell.cell_id for cell in one.cells] == [cell.cell_id for cell in other.cells]
    assert one.digest == other.digest
