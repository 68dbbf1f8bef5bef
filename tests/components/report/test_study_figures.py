"""Plots of a study are what Plotly takes, whatever kinds of settings and metrics there are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from plotly import graph_objects

from threedrs_components.report.study_figures import (
    BEST,
    arm_titles,
    arms_figure,
    coordinate_axis,
    study_figures,
)
from threedrs_platform.database.trials import StudyFacts, StudyView, TrialRow

METRICS = ("scanrefer/acc@0.25", "validation/loss")
SPACE = {"rate": "1e-05 to 0.01, log", "layers": "[1] | [2]", "weight": "0 to 3", "count": "1 to 4"}


def study(metrics: int, trials: int = 12) -> StudyView:
    """A study with complete and pruned trials."""
    facts = StudyFacts(
        "grid-1", "grid", {}, METRICS[:metrics], ("maximize", "minimize")[:metrics], SPACE, trials,
        (0,), 10, 0.2, watched="-validation/loss",
    )  # fmt: skip
    rows = [
        TrialRow(
            number,
            "complete" if number % 4 else "pruned",
            {"rate": 10.0 ** -(2 + number % 3), "layers": [number % 2], "weight": number / 4},
            (float(number), 1.0 / (1 + number))[:metrics] if number % 4 else (),
            intermediate={1: -1.0, 2: -0.5},
        )
        for number in range(trials)
    ]
    return StudyView("grid-1/all", facts, tuple(rows), {METRICS[0]: {"rate": 0.9, "weight": 0.1}})


@pytest.mark.parametrize("metrics", [1, 2])
def test_every_figure_is_valid_and_has_its_data_as_a_table(metrics: int) -> None:
    figures = study_figures(study(metrics), 0)
    front = ["front"] if metrics > 1 else []
    names = ["history", "importance", *front, "slices", "parallel", "curves"]
    assert [figure.name for figure in figures] == names
    for figure in figures:
        graph_objects.Figure(data=list(figure.traces), layout=dict(figure.layout))
        assert figure.rows and {len(row) for row in figure.rows} == {len(figure.header)}


def test_without_complete_trials_there_is_nothing_to_draw() -> None:
    assert study_figures(study(1, trials=1), 0) == []


def test_wide_ranges_get_a_logarithmic_axis() -> None:
    axis = coordinate_axis("learning_rate", [1e-5, 1e-4, 1e-3])
    assert axis.is_log and axis.place(1e-4) == pytest.approx(0.5)
    assert coordinate_axis("layer", ["[-1]", "[2]"]).place("[2]") == 1.0
    assert coordinate_axis("weight", [3.0]).place(3.0) == 0.5


@pytest.mark.parametrize("trials", [2, 3, 12, 40])
def test_the_best_trial_is_orange_however_few_there_are(trials: int) -> None:
    view = study(1, trials)
    (best, *_) = view.ranked(0)
    figures = {figure.name: figure for figure in study_figures(view, 0)}
    for name in ("history", "slices", "parallel"):
        marked = [each for each in figures[name].traces if each["name"] == "best"]
        assert marked and all(f"trial {best.number}:" in each["text"][0] for each in marked)
        colours = {(each.get("marker") or each["line"])["color"] for each in marked}
        assert colours == {BEST}


def test_what_was_searched_on_a_log_scale_is_drawn_on_one() -> None:
    assert coordinate_axis("weight", [0.5, 2.0], "0.1 to 10, log").is_log
    assert not coordinate_axis("weight", [0.5, 2.0], "0.1 to 10").is_log
    view = study(1)
    view = replace(view, facts=replace(view.facts, space={"weight": "0.1 to 3, log"}))
    rows = [replace(row, params={"weight": 1.0 + row.number}) for row in view.trials]
    figures = {each.name: each for each in study_figures(replace(view, trials=tuple(rows)), 0)}
    axis = figures["slices"].layout["xaxis"]
    assert axis["type"] == "log" and axis["dtick"] == "D2"


def test_trials_and_arms_that_are_equal_are_no_winners() -> None:
    level = tuple(replace(row, values=(7.0,)) for row in study(1, 4).trials if row.values)
    view = replace(study(1), trials=level)
    (tie,) = view.ties()
    assert tie.startswith("2 trials (2, 3) are exactly as good as trial 1, the first of them")
    assert study(1).ties() == [] and study(2).ties() == []
    arms = [replace(view, name=name, facts=replace(view.facts, arm={"teacher": name}))
            for name in ("mae", "vggt")]  # fmt: skip
    said = arms_figure(arms, METRICS[0]).summary
    assert "teacher=mae, teacher=vggt (7 each)" in said


def test_arms_are_called_by_what_tells_them_apart() -> None:
    usual = {"teacher": "vggt", "weight": 3.0, "mode": "none"}
    arms = [{**usual, "teacher": "none"}, usual, {**usual, "mode": "add", "weight": 0.0}]
    views = [replace(study(1), name=str(n), facts=replace(study(1).facts, arm=arm))
             for n, arm in enumerate(arms)]  # fmt: skip
    assert arm_titles(views) == [
        "teacher=none",
        "teacher=vggt",
        "teacher=vggt, weight=0.0, mode=add",
    ]
    named = replace(views[1], facts=replace(views[1].facts, label="as in the paper"))
    assert arm_titles([views[0], named])[1] == "as in the paper"
    figure = arms_figure(views, METRICS[0])
    assert [each["name"] for each in figure.traces] == arm_titles(views)
    assert figure.traces[0]["y"] == sorted(figure.traces[0]["y"])
    graph_objects.Figure(data=list(figure.traces), layout=dict(figure.layout))
