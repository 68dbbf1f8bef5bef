"""Metrics of the arms with their differences to the first, and settings in which they differ."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from threedrs_components.report.notation import ABSENT, entry_text
from threedrs_components.report.pair import SideBySide, side_by_side
from threedrs_components.report.sheets import difference_text, references
from threedrs_components.report.table import reported_metrics
from threedrs_dashboards.ablation.axes import find_axes, value_text
from threedrs_dashboards.compare.arms import Arm
from threedrs_dashboards.store import Store
from threedrs_dashboards.tables import Table
from threedrs_platform.database.grid_choice import GridChoice
from threedrs_platform.database.measurements import CellResult, RunResults, SceneTotals, flatten


def metric_names(arms: Sequence[Arm]) -> list[str]:
    """Every metric that an arm has, in order of first appearance."""
    return list(
        dict.fromkeys(name for arm in arms for cell in arm.replicates for name in cell.measurements)
    )


def measured(
    store: Store, arms: Sequence[Arm], names: Sequence[str], choice: GridChoice
) -> SideBySide:
    """The arms in some metrics, judged by the tests that the grid of the first fixes."""
    tested = reported_metrics(metric_names(arms), choice.metrics)
    kept = {*names, *tested}
    groups = {arm.name: tuple(_only(cell, kept) for cell in arm.replicates) for arm in arms}
    totals: dict[str, SceneTotals] = {
        arm.name: store.results.scene_totals(RunResults(arm.run, groups[arm.name])) for arm in arms
    }
    first, *others = arms
    family = None
    if all(arm.run.run_id == first.run.run_id for arm in others):
        family = store.family(first.run.run_id, choice, first.cell_id)
    run = RunResults(first.run, ())
    return side_by_side(groups, names, totals, run=run, tested=tested, family=family)


def _only(cell: CellResult, names: Collection[str]) -> CellResult:
    kept = {name: each for name, each in cell.measurements.items() if name in names}
    return replace(cell, measurements=kept)


@dataclass(frozen=True)
class Number:
    """One metric of one arm."""

    text: str
    """Mean ± sd over seeds."""
    difference: str
    """To the first arm, with its interval and mark; empty for the first."""
    verdict: str


@dataclass(frozen=True)
class MetricLine:
    """One metric of every arm."""

    name: str
    unit: str
    numbers: Sequence[Number]
    against: Sequence[str]
    """Of `references`: chance, the majority's answer, n; those that a metric here has."""


def metric_lines(beside: SideBySide) -> list[MetricLine]:
    """The table of the page."""
    lines = []
    against = references(beside.table.columns).values()
    for index, column in enumerate(beside.table.columns):
        numbers = []
        for row in beside.table.rows:
            each = beside.differences.get((row.cell_id, column.name))
            numbers.append(
                Number(
                    entry_text(row.entries[column.name], column.unit),
                    difference_text(each, column.unit) if each else "",
                    each.verdict if each else "",
                )
            )
        lines.append(
            MetricLine(column.name, column.unit, numbers, [each[index] for each in against])
        )
    return lines


def metrics_table(beside: SideBySide, arms: Sequence[Arm]) -> Table:
    """The same in full precision, a row per metric and arm."""
    rows = []
    for column in beside.table.columns:
        for arm in arms:
            entry = beside.table.row(arm.name).entries[column.name]
            each = beside.differences.get((arm.name, column.name))
            both = each.both if each else None
            low, high = both.interval if both and both.interval else (None, None)
            rows.append(
                (column.name, column.unit, arm.run.run_id, arm.title, entry.mean, entry.sd,
                 len(entry.values), both.difference if both else None, low, high,
                 each.corrected if each else None, each.corrected_scenes if each else None)
            )  # fmt: skip
    header = ("metric", "unit", "run", "cell", "mean", "sd", "seeds", "difference", "ci_low",
              "ci_high", "p_holm", "p_scenes_holm")  # fmt: skip
    return Table(header, rows)


@dataclass(frozen=True)
class SettingLine:
    """One setting in which the arms differ."""

    path: str
    values: Sequence[str]
    """One per arm."""


def differing_settings(
    beside: SideBySide, arms: Sequence[Arm]
) -> tuple[list[SettingLine], list[SettingLine]]:
    """The axes (settings that the grids name, or that all arms have), and every other one.

    The others are mostly defaults of parts that one arm alone has, such as its teacher's.
    """
    axes = find_axes(beside.table.rows)
    short = [SettingLine(path, [axes.value(arm.name, path) for arm in arms]) for path in axes.paths]
    flat: Mapping[str, Mapping[str, object]] = {
        arm.name: flatten(arm.replicates[0].params) for arm in arms
    }
    told = {line.path for line in short}
    rest = [
        SettingLine(path, [value_text(flat[arm.name], path) for arm in arms])
        for path in dict.fromkeys(path for each in flat.values() for path in each)
        if path not in told
    ]
    return short, [line for line in rest if len(set(line.values)) > 1]


def settings_table(arms: Sequence[Arm], lines: Sequence[SettingLine]) -> Table:
    """As it stands on the page."""
    header = ("setting", *(arm.title for arm in arms))
    return Table(
        header, [(line.path, *(value or ABSENT for value in line.values)) for line in lines]
    )
