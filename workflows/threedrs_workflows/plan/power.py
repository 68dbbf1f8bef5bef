"""How many seeds would show a difference, from how much results have varied over seeds so far."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from threedrs_components.metrics.power import pooled_deviation, power_of_seeds, seeds_needed
from threedrs_platform.database.measurements import CellResult
from threedrs_platform.database.results import Results
from threedrs_platform.errors import ConfigError
from threedrs_platform.workspace import Workspace
from threedrs_workflows.grid.cells import GridCells


@dataclass(frozen=True)
class MetricPower:
    """One metric: what the seeds of the plan show, and how many would do."""

    metric: str
    spread: float
    """Standard deviation over seeds of the difference of two cells."""
    pairs: int | None
    """Differences that it comes from; None if the user gave it."""
    power: float | None
    """Of the plan's seeds; None for a single one, which allows no test."""
    seeds: int | None
    """With a power of 80 %; None for more than a thousand."""


@dataclass(frozen=True)
class Power:
    """What a plan's seeds can show."""

    difference: float
    planned_seeds: int
    metrics: tuple[MetricPower, ...]
    run: str = ""
    """Whose results the spread is from; none if empty."""


def plan_power(
    workspace: Workspace, grid: GridCells, difference: float, spread: float | None
) -> Power:
    """Power for a difference, by the given spread or by that of the grid's last run."""
    count = len(grid.seeds)
    if spread is not None:
        return Power(difference, count, (_of("every metric", spread, None, difference, count),))
    try:
        results = Results(workspace.database).run_results(grid.name)
    except ConfigError:  # no such run
        return Power(difference, count, ())
    gaps = _gaps(results.cells, grid)
    measured = []
    for metric, groups in gaps.items():
        deviation = pooled_deviation(groups)
        if deviation is not None:
            pairs = sum(map(len, groups))
            measured.append(_of(metric, deviation, pairs, difference, count))
    return Power(difference, count, tuple(measured), results.run.run_id)


def _of(
    metric: str, spread: float, pairs: int | None, difference: float, seeds: int
) -> MetricPower:
    power = power_of_seeds(seeds, difference, spread) if seeds > 1 and spread > 0 else None
    return MetricPower(metric, spread, pairs, power, seeds_needed(difference, spread))


def _gaps(cells: tuple[CellResult, ...], grid: GridCells) -> dict[str, list[list[float]]]:
    """By metric, for every cell its differences from the baseline over common seeds."""
    base = grid.compared_to()
    chosen = grid.report.metrics
    values: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for cell in cells:
        for name, measured in cell.measurements.items():
            if measured.metric.unit == "%" and (not chosen or name in chosen):
                values[name][cell.cell_id][cell.seed] = measured.metric.value
    gaps = {}
    for name, by_cell in values.items():
        first = (
            base.cell_id if base is not None and base.cell_id in by_cell else next(iter(by_cell))
        )
        baseline = by_cell[first]
        gaps[name] = [
            [own[seed] - baseline[seed] for seed in own.keys() & baseline.keys()]
            for cell, own in by_cell.items()
            if cell != first
        ]
    return gaps
