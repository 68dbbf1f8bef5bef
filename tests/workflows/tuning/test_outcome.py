"""What a tuning run leaves: the best settings as a grid, tables, plots, importance."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from threedrs_platform.database.trials import SearchRange, StudyFacts, StudyView, TrialRow
from threedrs_platform.workspace import Workspace
from threedrs_workflows.cli.tune_output import outcome_content, outcome_text
from threedrs_workflows.grid.cells import load_cells
from threedrs_workflows.tuning.files import TuningFiles, write_files
from threedrs_workflows.tuning.session import Session

Tune = Callable[..., tuple[Session, list[StudyView]]]
Write = Callable[..., Path]


def study(directions: tuple[str, ...], values: list[tuple[float, ...]]) -> StudyView:
    metrics = tuple(f"metric {index}" for index in range(len(directions)))
    facts = StudyFacts("grid-1", "grid", {}, metrics, directions, {}, len(values), (0,), 10, 0.2)
    rows = [TrialRow(number, "complete", {}, each) for number, each in enumerate(values)]
    return StudyView("grid-1/all", facts, tuple(rows))


def written(tune: Tune, path: Path, workspace: Workspace) -> tuple[TuningFiles, list[StudyView]]:
    _, studies = tune(path)
    tuning = load_cells(path).tuning
    assert tuning is not None
    return write_files(workspace, tuning, studies), studies


@pytest.mark.parametrize(
    ("values", "directions", "best"),
    [
        ([(1.0,), (3.0,), (3.0,), (2.0,)], ("maximize",), [1]),
        ([(1.0,), (3.0,), (0.5,)], ("minimize",), [2]),
        ([(1, 5), (2, 4), (2, 3), (0, 9), (1, 5)], ("maximize", "maximize"), [0, 1, 3]),
        ([(1, 5), (2, 4), (2, 3), (0, 9)], ("maximize", "minimize"), [2]),
    ],
)
def test_the_best_are_those_that_none_beats(
    values: list[tuple[float, ...]], directions: tuple[str, ...], best: list[int]
) -> None:
    assert [each.number for each in study(directions, values).best] == best


LOG, LISTED = {"log": True}, {"listed": True}


@pytest.mark.parametrize(
    ("value", "low", "high", "how", "end"),
    [
        (3e-3, 3e-4, 3e-3, LOG, "upper"),
        (2.7e-3, 3e-4, 3e-3, LOG, "upper"),
        (1e-3, 3e-4, 3e-3, LOG, ""),
        (4e-4, 1e-5, 1.0, {}, "lower"),
        (4e-4, 1e-5, 1.0, LOG, ""),
        (0.0, 0.0, 1.0, {"wider_below": False}, ""),
        (1.0, 0.0, 1.0, {"wider_above": False}, ""),
        (1e-4, 1e-5, 1e-2, LISTED, ""),
        (1e-5, 1e-5, 1e-2, LISTED, "lower"),
        (10, 1, 10, {}, "upper"),
        (9, 1, 10, {}, ""),
    ],
)
def test_a_value_is_at_the_end_of_a_range_that_could_go_on(
    value: float, low: float, high: float, how: dict[str, bool], end: str
) -> None:
    assert SearchRange(low, high, **how).end_of(value) == end


def test_a_front_is_at_an_end_if_all_of_it_is() -> None:
    found = study(("maximize", "maximize"), [(1, 5), (2, 4)])
    facts = replace(found.facts, ranges={"rate": SearchRange(0, 1)}, space={"rate": "0 to 1"})
    apart, together = (
        replace(
            found,
            facts=facts,
            trials=tuple(
                replace(row, params={"rate": value})
                for row, value in zip(found.trials, values, strict=True)
            ),
        )
        for values in ((0.0, 1.0), (1.0, 0.99))
    )
    assert apart.edges() == []
    assert together.edges() == [
        "rate 1, 0.99 is at the upper end of its range (0 to 1): widen it, what is best may lie "
        "beyond"
    ]


@pytest.mark.parametrize(
    ("space", "wider"),
    [
        ({"float": [0.0, 1.0]}, (False, True)),
        ({"float": [0.1, 1.0], "log": True}, (True, True)),
        ({"categorical": [1.0, 2.0, 0.5]}, (True, True)),
        ({"categorical": [1.0, 2.0]}, None),
    ],
)
def test_an_end_that_the_setting_itself_has_is_none(
    space: dict[str, Any], wider: tuple[bool, bool] | None, write: Write
) -> None:
    tuning = load_cells(write(space={"alignment.weight": space})).tuning
    assert tuning is not None
    (arm,) = tuning.arms
    found = arm.ranges(tuning.bench)
    assert [(each.wider_below, each.wider_above) for each in found.values()] == (
        [] if wider is None else [wider]
    )


def test_a_best_trial_at_the_end_of_its_range_is_told_wherever_the_best_is(
    tune: Tune, write: Write, workspace: Workspace
) -> None:
    choices = {"alignment.weight": {"categorical": [0.25, 0.5, 1.0]}}  # 2 would be best
    files, (outcome,) = written(tune, write(space=choices, trials=3, sampler="grid"), workspace)
    told = "alignment.weight 1 is at the upper end of its range (0.25 | 0.5 | 1.0): widen it"
    assert files.grid is not None
    for text in (outcome_text(outcome), files.plots.read_text(), files.grid.read_text()):
        assert told in text
    assert outcome_content(outcome)["at_the_end_of_a_range"] == outcome.edges() != []


def test_the_best_settings_are_a_grid_of_the_base_and_the_tuned_cell(
    tune: Tune, write: Write, workspace: Workspace
) -> None:
    path = write(base={"correspondence": {"weight": 0.5}}, sections={"seeds": [3, 4]})
    files, (outcome,) = written(tune, path, workspace)
    assert files.grid is not None
    grid = load_cells(files.grid)
    assert (grid.name, grid.seeds) == ("demo-tuned", (3, 4))
    assert [cell.label for cell in grid.cells] == ["base", "tuned"]
    base, tuned = (cell.experiment for cell in grid.cells)
    assert tuned.alignment.weight == outcome.best[0].params["alignment.weight"]
    assert list(tuned.alignment.layers) == outcome.best[0].params["alignment.layers"]
    assert tuned.held_out == 0 and base.correspondence.weight == 0.5
    assert grid.compared_to() == grid.cells[0]


def test_arms_stand_beside_their_untuned_selves(
    tune: Tune, write: Write, workspace: Workspace
) -> None:
    factors: dict[str, Any] = {"ablate": {"factors": {"teacher": ["mae"]}}}
    path = write(trials=4, arms=["teacher"], sections=factors)
    files, _ = written(tune, path, workspace)
    assert files.grid is not None
    labels = [cell.label for cell in load_cells(files.grid).cells]
    assert labels == ["base", "teacher=vggt tuned", "teacher=mae", "teacher=mae tuned"]


def test_arms_keep_the_names_that_the_grid_gives_them(
    tune: Tune, write: Write, workspace: Workspace
) -> None:
    named: dict[str, Any] = {"include": [{"teacher": "mae", "label": "distillation 2D"}]}
    files, studies = written(tune, write(trials=1, arms=["teacher"], sections=named), workspace)
    assert studies[-1].facts.arm_name == "distillation 2D"
    assert files.grid is not None and "# distillation 2D: trial 0" in files.grid.read_text()
    labels = [cell.label for cell in load_cells(files.grid).cells]
    assert labels[-1].startswith("distillation 2D")


def test_tables_and_plots_hold_every_trial_and_need_no_network(
    tune: Tune, write: Write, workspace: Workspace
) -> None:
    files, (outcome,) = written(tune, write(trials=6), workspace)
    rows = list(csv.DictReader(files.trials.read_text().splitlines()))
    assert [int(each["trial"]) for each in rows] == list(range(6))
    assert [each["best"] for each in rows].count("1") == 1
    text = outcome_text(outcome)
    assert "6 of 6 trials (6 complete)" in text and "best: trial" in text
    page = files.plots.read_text()
    assert "acc@0.25 depends on" in page
    assert "<script src=" not in page and page.count("Plotly.newPlot") >= 4


def test_importance_finds_what_matters(tune: Tune, write: Write) -> None:
    space = {
        "alignment.weight": {"float": [0.01, 2.0], "log": True},
        "training.learning_rate": {"float": [1e-4, 1e-2], "log": True},
    }
    _, (outcome,) = tune(write(space=space, trials=20, sampler="random", parallel=4))
    (shares,) = outcome.importance.values()
    assert shares["alignment.weight"] > 0.8
