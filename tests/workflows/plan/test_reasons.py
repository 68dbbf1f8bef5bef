"""Why a step is new, told by the nearest earlier step, in time that does not grow with history."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from threedrs_platform.database.step_rows import StepRow
from threedrs_platform.identity.recipes import Recipe
from threedrs_platform.states import StepState
from threedrs_platform.steps import Cell
from threedrs_platform.testing.fake_cells import fake_cell, fake_step
from threedrs_workflows.cli.plan import brief
from threedrs_workflows.plan import reasons
from threedrs_workflows.plan.reasons import MOST_COMPARED, Predecessors
from threedrs_workflows.testing.engine_bench import Engine


def recipe(**params: int) -> Recipe:
    return Recipe("finetune", 1, "m:run", "code", {}, params, "cpu-float32", {})


def known(*recipes: Recipe) -> list[tuple[StepRow, object]]:
    nothing = (None, None, None, None, None)
    row = StepRow("", "finetune", "", StepState.SUCCEEDED, "", *nothing, 1, None, None, False)
    return [(replace(row, key=each.key()), json.loads(each.json())) for each in recipes]


def test_the_nearest_of_several_is_compared() -> None:
    earlier = known(recipe(a=1, b=9, c=9), recipe(a=1, b=2, c=9), recipe(a=9, b=9, c=9))
    reason = Predecessors(earlier, {}).reason(recipe(a=1, b=2, c=3), "")
    assert reason.text == "parameter c changed: 9 to 3"


def test_a_step_that_the_plan_still_uses_is_no_predecessor() -> None:
    beside = recipe(a=1)
    assert Predecessors(known(beside), {beside.key(): beside}).reason(recipe(a=2), "").text == "new"


def test_a_long_history_is_not_compared_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[object] = []
    features = reasons._features

    def counted(each: Any) -> Any:
        looked_at.append(each)
        return features(each)

    monkeypatch.setattr(reasons, "_features", counted)
    history = Predecessors(known(*(recipe(a=value) for value in range(500))), {})
    assert history.reason(recipe(a=501), "").text == "parameter a changed: 0 to 501"
    assert len(looked_at) == MOST_COMPARED + 1


def test_a_step_like_none_before_is_new() -> None:
    """Another grid's step in the same place explains nothing."""
    earlier = known(recipe(a=1, b=1, c=1, d=1))
    other = recipe(a=2, b=2, c=2, d=2)
    assert Predecessors(earlier, {}).reason(other, "").text == "new"


def test_what_reads_a_new_step_is_new(engine: Engine) -> None:
    def pair(**params: int) -> list[Cell]:
        early = fake_step("noop", params, kind="early")
        late = fake_step("measure", {"y": 1}, kind="late", early=early)
        return [fake_cell("cell", {"early": early, "late": late})]

    engine.submit(pair(a=1, b=1, c=1, d=1))
    plan = engine.look(pair(a=2, b=2, c=2, d=2))
    assert [step.reason for step in plan.steps] == ["new", "new"]
    assert [step.reason for step in engine.look(pair(a=2, b=1, c=1, d=1)).steps] == [
        "parameter a changed: 1 to 2",
        "input changed: early",
    ]


LONG = (
    "parameter scenes.settings.num_frames changed: 4 to 8; parameter scenes.settings.train "
    "changed: 12 to 450; parameter a changed: 1 to 2; and 2 more"
)


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (100, "scenes.num_frames: 4 to 8; scenes.train: 12 to 450; a: 1 to 2; and 2 more"),
        (60, "scenes.num_frames: 4 to 8; and 4 more"),
        (40, "scenes.num_frames: 4 to 8; and 4 more"),
        (20, "scenes.num_frames..."),
    ],
)
def test_a_reason_fits_its_line(width: int, shown: str) -> None:
    assert brief(LONG, width) == shown
    assert len(shown) <= width
