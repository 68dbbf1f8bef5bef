"""What a run has yielded, as values: cells x seeds x metrics with what is missing and why.

The store fills these (`results.py`); reports, comparisons and MLflow read them. No SQL here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from threedrs_platform.records import Metric
from threedrs_platform.states import RunState, StepState


@dataclass(frozen=True)
class StepSummary:
    """One step as a cell sees it."""

    role: str
    """The cell's name for the step, e.g. "finetune"."""
    key: str
    kind: str
    state: StepState
    output_digest: str | None = None
    cause: str = ""
    """Message of the last failed attempt, one line."""
    accepted: str = ""
    """Why results of older code stand for it, if it was not computed itself."""


@dataclass(frozen=True)
class Measurement:
    """A metric and the step that measured it."""

    metric: Metric
    step_key: str


@dataclass(frozen=True)
class CellResult:
    """One cell under one seed: its state and its numbers."""

    cell_id: str
    name: str
    seed: int
    label: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[StepSummary, ...] = ()
    measurements: Mapping[str, Measurement] = field(default_factory=dict)
    """Metric name -> measurement; "role:name" where two steps of a cell report one name."""
    cancelled: bool = False
    """Taken out of the run; steps that other cells need may still go on."""

    @property
    def title(self) -> str:
        """What people call this cell."""
        return self.label or self.name or self.cell_id

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """Its parameters by dotted names."""
        return flatten(self.params)

    @property
    def state(self) -> StepState:
        """The worst state among the steps; succeeded only when every step has succeeded."""
        if self.cancelled:
            return StepState.CANCELLED
        states = {step.state for step in self.steps}
        for state in _WORST_FIRST:
            if state in states:
                return state
        return StepState.SUCCEEDED if states else StepState.PENDING

    @property
    def missing_reason(self) -> str:
        """Why numbers of this cell may be missing; empty when every step has succeeded."""
        if self.state is StepState.SUCCEEDED:
            return ""
        first = next((step for step in self.steps if step.state is self.state), None)
        if first is None:
            return str(self.state)
        return f"{self.state}: {first.role}" + (f": {first.cause}" if first.cause else "")


_WORST_FIRST = (
    StepState.FAILED,
    StepState.BLOCKED,
    StepState.CANCELLED,
    StepState.RUNNING,
    StepState.PENDING,
)


@dataclass(frozen=True)
class SceneTotal:
    """Sum and count of a metric's per-sample scores in one scene."""

    total: float
    count: int


SceneTotals = Mapping[tuple[str, int, str], Mapping[str, SceneTotal]]
"""(cell id, seed, metric) -> scene id -> sum and count of the per-sample scores."""


@dataclass(frozen=True)
class RunSummary:
    """One submission, without its numbers."""

    run_id: str
    name: str
    state: RunState
    created_at: float = 0.0
    """Seconds since 1970."""
    finished_at: float | None = None
    grid_file: str = ""


@dataclass(frozen=True)
class RunResults:
    """All cells of a run under all seeds, in grid order."""

    run: RunSummary
    cells: tuple[CellResult, ...]

    def by_cell(self) -> dict[str, tuple[CellResult, ...]]:
        """Cell id -> its replicates, seeds ascending; cells in grid order."""
        groups: dict[str, list[CellResult]] = {}
        for cell in self.cells:
            groups.setdefault(cell.cell_id, []).append(cell)
        return {
            cell_id: tuple(sorted(group, key=lambda cell: cell.seed))
            for cell_id, group in groups.items()
        }

    def metric_names(self) -> tuple[str, ...]:
        """Every metric that any cell has, in order of first appearance."""
        return tuple(dict.fromkeys(name for cell in self.cells for name in cell.measurements))


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings to dotted keys; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in params.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{path}.")
        else:
            flat[path] = value
    return flat
