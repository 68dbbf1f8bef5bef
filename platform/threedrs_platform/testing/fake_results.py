"""Results of runs that never ran: values for the tests of reports, in a line or two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from threedrs_platform.database.measurements import (
    CellResult,
    Measurement,
    RunResults,
    RunSummary,
    StepSummary,
)
from threedrs_platform.records import Metric
from threedrs_platform.states import RunState, StepState

Values = Mapping[str, Mapping[int, Mapping[str, float | Metric]]]
"""Cell label -> seed -> metric name -> value (percent, 150 samples) or a whole `Metric`."""


def fake_results(
    values: Values,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    failures: Mapping[tuple[str, int], tuple[StepState, str]] | None = None,
    name: str = "study",
) -> RunResults:
    """A run with these numbers.

    Args:
        values: the numbers.
        params: cell label -> parameters.
        failures: (cell label, seed) -> state and cause of its "finetune" step.
        name: of the grid.
    """
    settings, broken = params or {}, failures or {}
    cells = [
        _cell(label, seed, metrics, settings.get(label, {}), broken.get((label, seed)))
        for label, seeds in values.items()
        for seed, metrics in seeds.items()
    ]
    state = RunState.PARTIAL if failures else RunState.SUCCEEDED
    return RunResults(RunSummary("run-1", name, state), tuple(cells))


def _cell(
    label: str,
    seed: int,
    metrics: Mapping[str, float | Metric],
    params: Mapping[str, Any],
    failure: tuple[StepState, str] | None,
) -> CellResult:
    state, cause = failure or (StepState.SUCCEEDED, "")
    key = f"key-{label}-{seed}"
    return CellResult(
        cell_id=f"id-{label}",
        name=f"name-{label}",
        seed=seed,
        label=label,
        params=params,
        steps=(StepSummary("finetune", key, "finetune", state, cause=cause),),
        measurements={
            name: Measurement(_metric(name, value), key) for name, value in metrics.items()
        },
    )


def _metric(name: str, value: float | Metric) -> Metric:
    return value if isinstance(value, Metric) else Metric(name, value, n=150)
