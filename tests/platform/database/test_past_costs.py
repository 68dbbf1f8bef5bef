"""How long a step takes is told by steps of equal sizes, and by no others."""

from __future__ import annotations

from typing import Any

import pytest

from threedrs_platform.database.past_costs import Cost, PastCosts, Sizes


def recipe(kind: str = "finetune", inputs: dict[str, str] | None = None, **params: Any) -> Any:
    return {"kind": kind, "params": params, "inputs": inputs or {}}


PAST = recipe(training={"steps": 4, "rate": 0.1, "seed": 1}, layers=[-1], student="small")


def told(new: Any, **others: Any) -> float | None:
    costs = PastCosts([Cost("past", 8.0, 1.0)], Sizes({"past": PAST, "new": new, **others}))
    found = costs.of("new")
    return None if found is None else found.seconds


@pytest.mark.parametrize(
    "training", [{"rate": 0.5}, {"seed": 2}, {"rate": 0.5, "seed": 9}], ids=str
)
def test_rates_and_seeds_leave_a_step_its_time(training: dict[str, Any]) -> None:
    new = recipe(training=PAST["params"]["training"] | training, layers=[2], student="small")
    assert told(new) == 8.0


@pytest.mark.parametrize("name", ["content", "weights", "revision"])
def test_digests_are_no_sizes_but_whether_there_is_one_is(name: str) -> None:
    """New annotations or another checkpoint: as many scenes, as large a model."""
    values: dict[str, Any] = {"a": "a" * 64, "b": "b" * 64, "none": None}
    sizes = Sizes({key: recipe("finetune", None, **{name: each}) for key, each in values.items()})
    assert sizes.of("a") == sizes.of("b") != sizes.of("none")


@pytest.mark.parametrize(
    "change",
    [
        {"training": {"steps": 4000, "rate": 0.1, "seed": 1}},
        {"student": "large"},
        {"layers": [-1, 2]},
    ],
    ids=str,
)
def test_steps_of_other_sizes_tell_nothing(change: dict[str, Any]) -> None:
    assert told(recipe(**(PAST["params"] | change))) is None


def test_sizes_of_what_is_read_are_sizes() -> None:
    """A prediction says nowhere how many scenes there are: its scenes do."""
    recipes = {
        "few": recipe("scenes", val=4),
        "many": recipe("scenes", val=4000),
        "past": recipe("predict", {"scenes": "few"}),
        "same": recipe("predict", {"scenes": "few"}),
        "new": recipe("predict", {"scenes": "many"}),
    }
    costs = PastCosts([Cost("past", 2.0, 1.0)], Sizes(recipes))
    assert costs.of("new") is None
    assert costs.of("same") is not None
