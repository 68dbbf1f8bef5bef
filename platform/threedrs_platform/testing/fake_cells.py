"""Grids of fake steps, for tests and benchmarks of the engine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from threedrs_platform.steps import Cell, Resources, StepSpec

FAKE = "threedrs_platform.testing.fake_steps"
ONE_CPU = Resources()


def fake_step(
    function: str = "noop",
    params: Mapping[str, Any] | None = None,
    resources: Resources = ONE_CPU,
    kind: str | None = None,
    label: str = "",
    settings: Mapping[str, Any] | None = None,
    version: int = 1,
    **inputs: StepSpec,
) -> StepSpec:
    """A step that calls one of the fake functions; its kind is the function's name."""
    return StepSpec(
        kind or function,
        f"{FAKE}:{function}",
        params or {},
        inputs,
        label,
        resources,
        version=version,
        settings=settings or {},
    )


def fake_cell(name: str, steps: Mapping[str, StepSpec], seed: int = 0) -> Cell:
    """A cell whose id is its name."""
    return Cell(name, name, seed, {"name": name}, steps)


def chains(num_chains: int, length: int, function: str = "noop", **params: Any) -> list[Cell]:
    """Independent chains of steps, one cell each."""
    cells = []
    for chain in range(num_chains):
        step = fake_step(function, {**params, "id": f"{chain}.0"}, kind="link")
        steps = {"link0": step}
        for depth in range(1, length):
            given = {**params, "id": f"{chain}.{depth}"}
            step = fake_step(function, given, kind="link", previous=step)
            steps[f"link{depth}"] = step
        cells.append(fake_cell(f"chain-{chain}", steps))
    return cells


def fans(num_cells: int, result: str = "count", **params: Any) -> list[Cell]:
    """Cells that share one root and one middle step and have a result of their own.

    Args:
        num_cells: how many.
        result: function of the last steps; cells differ by its `params["value"]`.
        **params: of all steps.
    """
    root = fake_step("count", {**params, "id": "root"}, kind="root")
    middle = fake_step("count", {**params, "id": "middle"}, kind="middle", root=root)
    cells = []
    for index in range(num_cells):
        own = {**params, "id": f"result-{index}", "value": index}
        end = fake_step(result, own, kind="result", middle=middle, root=root)
        cells.append(fake_cell(f"cell-{index}", {"root": root, "middle": middle, "result": end}))
    return cells
