"""Cells grouped into the rows and columns of a pivot table.

Where a group holds several cells (they differ in an axis that is neither row nor column), their
values are averaged seed by seed first: the spread stays one over seeds, and the difference to the
baseline stays paired.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from threedrs_components.report.comparison import (
    Difference,
    Family,
    compare_entries,
    compare_metric,
)
from threedrs_components.report.table import Column, Entry, ResultTable, Row
from threedrs_dashboards.ablation.axes import Axes
from threedrs_platform.database.measurements import SceneTotals

LOWER_IS_BETTER = frozenset({"m", "s", "nats", "MSE", "ratio", "samples"})
"""Units of errors, times and losses."""


@dataclass(frozen=True)
class PivotColumn:
    """One metric, under one value of the axis that is spread over columns."""

    value: str
    """Of that axis; empty when there is none."""
    metric: Column


@dataclass(frozen=True)
class PivotRow:
    """The cells that agree in the row axes."""

    key: tuple[str, ...]
    """Values of the row axes, or the cell's title."""
    cells: tuple[Row, ...]
    entries: tuple[Entry | None, ...]
    """One per column; None where no cell belongs."""
    members: tuple[tuple[Row, ...], ...]
    """The cells behind each entry."""
    has_baseline: bool


@dataclass(frozen=True)
class Pivot:
    """The table."""

    row_axes: tuple[str, ...]
    columns: tuple[PivotColumn, ...]
    rows: tuple[PivotRow, ...]
    best: Mapping[int, float]
    """Column -> its best mean, to the digits that are shown."""

    def is_best(self, column: int, entry: Entry | None) -> bool:
        """Whether an entry has the best mean of its column."""
        if entry is None or entry.mean is None or column not in self.best:
            return False
        return round(entry.mean, 3) == self.best[column]


def pivot(
    table: ResultTable,
    axes: Axes,
    by: Sequence[str] = (),
    across: str = "",
    keep: Sequence[Row] | None = None,
    over: Sequence[str] = (),
) -> Pivot:
    """Arrange a run's cells.

    Args:
        by: settings whose values name the rows; none means that every cell is a row.
        across: setting whose values are spread over columns; empty means none.
        keep: only these cells; None means all.
        over: settings over whose values cells are averaged. Cells that differ in anything else stay
            apart, whatever names the rows: a control is no replicate of the baseline.
    """
    rows = table.rows if keep is None else tuple(keep)
    values = list(
        dict.fromkeys(axes.value(row.cell_id, across) for row in rows) if across else [""]
    )
    columns = tuple(PivotColumn(value, metric) for metric in table.columns for value in values)
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        key = tuple(axes.value(row.cell_id, path) for path in by) or _own_key(row, axes, across)
        groups.setdefault(key, []).append(row)
    if by:
        alike = [path for path in axes.paths if path not in {*by, across, *over}]
        groups = {
            key: part for group in groups.items() for key, part in _apart(*group, axes, alike)
        }
    made = tuple(
        _row(key, group, columns, axes, across, table.baseline) for key, group in groups.items()
    )
    return Pivot(tuple(by) or ("cell",), columns, made, _best(columns, made))


def _apart(
    key: tuple[str, ...], group: Sequence[Row], axes: Axes, alike: Sequence[str]
) -> Iterator[tuple[tuple[str, ...], list[Row]]]:
    """A group in parts that agree in the settings `alike`; what tells them apart is added."""
    values = {path: {axes.value(row.cell_id, path) for row in group} for path in alike}
    differing = [path for path in alike if len(values[path]) > 1]
    parts: dict[str, list[Row]] = {}
    for row in group:
        told = ", ".join(f"{path}={axes.value(row.cell_id, path)}" for path in differing)
        parts.setdefault(told, []).append(row)
    for told, part in parts.items():
        yield ((*key[:-1], f"{key[-1]} ({told})") if told else key), part


def _own_key(row: Row, axes: Axes, across: str) -> tuple[str, ...]:
    """A row of its own for each cell; with a column axis, for all that differ in it alone."""
    if not across:
        return (row.title,)
    rest = [path for path in axes.paths if path != across]
    return (", ".join(f"{path}={axes.value(row.cell_id, path)}" for path in rest) or "all",)


def _row(
    key: tuple[str, ...],
    group: Sequence[Row],
    columns: Sequence[PivotColumn],
    axes: Axes,
    across: str,
    baseline: str | None,
) -> PivotRow:
    members = [
        tuple(
            row
            for row in group
            if row.entries[column.metric.name].is_shown
            and (not across or axes.value(row.cell_id, across) == column.value)
        )
        for column in columns
    ]
    entries = [
        merge([row.entries[column.metric.name] for row in mine])
        for column, mine in zip(columns, members, strict=True)
    ]
    has_baseline = any(row.cell_id == baseline for row in group)
    return PivotRow(key, tuple(group), tuple(entries), tuple(members), has_baseline)


def merge(entries: Sequence[Entry]) -> Entry | None:
    """Average cells seed by seed, over the seeds that all of them have; None for no cell."""
    if len(entries) < 2:
        return next(iter(entries), None)
    seeds = set.intersection(*(set(entry.values) for entry in entries))
    return Entry(
        values={
            seed: statistics.fmean(entry.values[seed] for entry in entries)
            for seed in sorted(seeds)
        },
        wanted=max(entry.wanted for entry in entries),
        n=tuple(sorted({n for entry in entries for n in entry.n})),
        reasons={seed: why for entry in entries for seed, why in entry.reasons.items()},
        unit=entries[0].unit,
    )


def _best(columns: Sequence[PivotColumn], rows: Sequence[PivotRow]) -> dict[int, float]:
    """The best mean of each column in which at least two rows can be compared."""
    best = {}
    for index, column in enumerate(columns):
        found = [row.entries[index] for row in rows]
        means = [entry.mean for entry in found if entry is not None and entry.mean is not None]
        if len(means) > 1:
            choose = min if column.metric.unit in LOWER_IS_BETTER else max
            best[index] = round(choose(means), 3)
    return best


def differences(
    table: ResultTable,
    made: Pivot,
    rows: Sequence[PivotRow],
    family: Family,
    totals: SceneTotals,
) -> dict[tuple[tuple[str, ...], int], Difference]:
    """(row key, column) -> that entry minus the baseline, judged where the run tests it.

    Averages of cells are compared over seeds alone, and not judged.
    """
    if table.baseline is None:
        return {}
    base = table.row(table.baseline)
    found: dict[tuple[tuple[str, ...], int], Difference] = {}
    for row in rows:
        for index, (column, entry) in enumerate(zip(made.columns, row.entries, strict=True)):
            metric = column.metric.name
            reference = base.entries[metric]
            if entry is None or not (entry.values and reference.values):
                continue
            cells = row.members[index]
            key = (base.cell_id, cells[0].cell_id, metric)
            if len(cells) > 1:
                found[row.key, index] = compare_entries("", metric, reference, entry)
            elif cells[0].cell_id != base.cell_id:
                each = family.differences.get(key) or compare_metric(table, *key, totals)
                if each is not None:
                    found[row.key, index] = each
    return found


def ordered(made: Pivot, column: int | None, worst_first: bool = False) -> tuple[PivotRow, ...]:
    """Rows in grid order, or best or worst first by one column, what is missing last."""
    if column is None:
        return made.rows
    lower_first = made.columns[column].metric.unit in LOWER_IS_BETTER
    sign = 1 if lower_first != worst_first else -1

    def place(row: PivotRow) -> tuple[bool, float]:
        entry = row.entries[column]
        mean = None if entry is None else entry.mean
        return mean is None, 0.0 if mean is None else sign * mean

    return tuple(sorted(made.rows, key=place))
