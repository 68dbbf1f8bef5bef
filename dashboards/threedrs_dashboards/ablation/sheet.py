"""An ablation table as text: on the page, in LaTeX and Markdown, and as CSV rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from threedrs_components.report.comparison import Difference
from threedrs_components.report.notation import ABSENT, entry_text
from threedrs_components.report.sheets import Sheet, difference_text, references
from threedrs_components.report.table import Column, Entry
from threedrs_dashboards.ablation.paper_rows import Beside
from threedrs_dashboards.ablation.pivot import Pivot, PivotColumn, PivotRow
from threedrs_dashboards.tables import Table

Differences = Mapping[tuple[tuple[str, ...], int], Difference]
LEGEND = (
    "mean ± sd over seeds; below it the paired difference to the baseline with its 95 % interval "
    "over seeds and scenes, over seeds alone for averages of several cells"
)
CSV_HEADER = (
    "unit", "mean", "sd", "seeds", "seeds_wanted", "cells", "n", "difference",
    "ci_low", "ci_high", "p", "p_holm", "chance", "majority", "paper", "missing",
)  # fmt: skip


def heading(column: PivotColumn) -> str:
    """What stands above a column."""
    name = unit_heading(column.metric)
    return f"{column.value}: {name}" if column.value else name


def unit_heading(metric: Column) -> str:
    """A metric's name with its unit."""
    return f"{metric.name} ({metric.unit})" if metric.unit else metric.name


def value_text(entry: Entry | None, unit: str) -> str:
    """Mean ± sd."""
    return ABSENT if entry is None else entry_text(entry, unit)


def pivot_sheet(
    title: str,
    made: Pivot,
    rows: Sequence[PivotRow],
    differences: Differences,
    beside: Beside | None,
    legend: str = LEGEND,
) -> Sheet:
    """The table as it stands on the page, its best values in bold."""
    first = len(made.row_axes)
    lines, best = [], set()
    for line, row in enumerate(rows):
        cells = []
        for index, (column, entry) in enumerate(zip(made.columns, row.entries, strict=True)):
            cells.append(_cell_text(row, index, column, entry, differences, beside))
            if made.is_best(index, entry):
                best.add((line, first + index))
        lines.append((*row.key, *cells))
    for name, cells in references([column.metric for column in made.columns]).items():
        lines.append((name, *[""] * (first - 1), *cells))
    header = (*made.row_axes, *(heading(column) for column in made.columns))
    legend = legend if beside is None else f"{legend}. {beside.note}"
    return Sheet(title, header, tuple(lines), legend, frozenset(best))


def _cell_text(
    row: PivotRow,
    index: int,
    column: PivotColumn,
    entry: Entry | None,
    differences: Differences,
    beside: Beside | None,
) -> str:
    parts = [value_text(entry, column.metric.unit)]
    difference = differences.get((row.key, index))
    if difference is not None:
        parts.append(f"({difference_text(difference, column.metric.unit)})")
    paper = beside.text(row.members[index], column.metric.name) if beside else ""
    return " ".join([*parts, f"paper {paper}"] if paper else parts)


def pivot_table(
    made: Pivot, rows: Sequence[PivotRow], differences: Differences, beside: Beside | None
) -> Table:
    """One CSV row per row and column of the table, in full precision."""
    lines = [
        (*row.key, column.value, column.metric.name, *numbers)
        for row in rows
        for index, (column, entry) in enumerate(zip(made.columns, row.entries, strict=True))
        if entry is not None
        for numbers in [_csv_row(row, index, column, entry, differences, beside)]
    ]
    return Table((*made.row_axes, "across", "metric", *CSV_HEADER), lines)


def _csv_row(
    row: PivotRow,
    index: int,
    column: PivotColumn,
    entry: Entry,
    differences: Differences,
    beside: Beside | None,
) -> tuple[object, ...]:
    each = differences.get((row.key, index))
    both = each.both if each else None
    low, high = both.interval if both and both.interval else (None, None)
    cells = row.members[index]
    return (
        column.metric.unit, entry.mean, entry.sd, len(entry.values), entry.wanted, len(cells),
        "/".join(map(str, entry.n)), both.difference if both else None, low, high,
        both.p if both else None, each.corrected if each else None,
        column.metric.chance, column.metric.majority,
        beside.text(cells, column.metric.name) if beside else "",
        "; ".join(f"seed {seed}: {why}" for seed, why in entry.reasons.items()),
    )  # fmt: skip
