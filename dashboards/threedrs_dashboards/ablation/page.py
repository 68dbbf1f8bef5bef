"""Answers `/table`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from threedrs_components.report.comparison import Family
from threedrs_components.report.document import stands_in
from threedrs_components.report.honesty import is_rendered
from threedrs_components.report.render import sheet_latex, sheet_markdown
from threedrs_components.report.sheets import (
    MARKS,
    Sheet,
    difference_text,
    family_text,
    references,
)
from threedrs_components.report.table import ResultTable, Row, arrange, present_baseline
from threedrs_dashboards import query
from threedrs_dashboards.ablation.axes import Axes, find_axes
from threedrs_dashboards.ablation.means import means_chart
from threedrs_dashboards.ablation.paper_rows import NONE, Beside, beside
from threedrs_dashboards.ablation.pivot import Pivot, PivotRow, differences, ordered, pivot
from threedrs_dashboards.ablation.sheet import (
    LEGEND,
    Differences,
    heading,
    pivot_sheet,
    pivot_table,
    value_text,
)
from threedrs_dashboards.charts import Chart
from threedrs_dashboards.choices import chosen_metrics
from threedrs_dashboards.pages import Page, respond
from threedrs_dashboards.paging import Paging, paging
from threedrs_dashboards.store import store_of
from threedrs_dashboards.tables import Table, file_response
from threedrs_platform.database.grid_choice import grid_choice
from threedrs_platform.database.measurements import RunSummary, SceneTotals
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.garbage import uncollected

FORMATS = {"md": (sheet_markdown, "text/markdown"), "tex": (sheet_latex, "application/x-tex")}
MOST_VALUES = 30
"""An axis with more values than this cannot be chosen from by value."""


@dataclass(frozen=True)
class View:
    """Everything that the query string decides, resolved."""

    run: RunSummary
    table: ResultTable
    axes: Axes
    by: tuple[str, ...]
    across: str
    over: tuple[str, ...]
    only: tuple[str, ...]
    sort: str
    worst_first: bool
    pivot: Pivot
    rows: tuple[PivotRow, ...]
    family: Family
    totals: SceneTotals
    paging: Paging
    papers: dict[str, Beside]
    paper: str
    stands_in: str
    """Said where the baseline is not the one that the grid names, and nobody chose it."""

    @property
    def beside(self) -> Beside | None:
        """The chosen table of the paper."""
        return self.papers.get(self.paper)

    @property
    def legend(self) -> str:
        """How differences and marks are to be read."""
        return f"{LEGEND}; {MARKS}; {family_text(self.family)}"

    def differences(self, rows: Sequence[PivotRow]) -> Differences:
        """Of some rows to the baseline."""
        return differences(self.table, self.pivot, rows, self.family, self.totals)


@uncollected()
def show(request: Request) -> Response:
    """The table, or with `?format=md` or `?format=tex` the whole of it as a file."""
    names = _metric_names(request)
    view = _view(request, names)
    style = query.choice(request, "format", ["", *FORMATS])
    if style:
        write, media_type = FORMATS[style]
        sheet = _whole_sheet(view)
        return file_response(write(sheet) + "\n", f"{view.run.name}.{style}", media_type)
    shown = view.rows[view.paging.first : view.paging.last]
    found = view.differences(shown)
    context = {
        "title": "Ablation table",
        "run": view.run,
        "view": view,
        "names": names,
        "metrics": [column.name for column in view.table.columns],
        "cells": [(row.title, row.cell_id) for row in view.table.rows],
        "lines": [_line(view, row, found) for row in shown],
        "headings": [heading(column) for column in view.pivot.columns],
        "axes": [axis for axis in view.axes.axes if len(axis.values) <= MOST_VALUES],
        "references": references([column.metric for column in view.pivot.columns]),
        "paging": view.paging,
        "none": NONE,
    }
    tables = {"table": lambda: _csv(view)}
    charts = [_chart(view)] if view.pivot.columns and view.rows else []
    return respond(request, "table.html", context, charts, tables)


def _metric_names(request: Request) -> list[str]:
    store = store_of(request)
    return store.results.metric_names(store.run(query.text(request, "run")).run_id)


def _view(request: Request, names: Sequence[str]) -> View:
    store = store_of(request)
    run = store.run(query.text(request, "run"))
    choice = grid_choice(store.database, run.run_id)
    metrics = chosen_metrics(request, names, choice.metrics)
    results = store.results.run_results(run.run_id, metrics)
    chosen = query.text(request, "baseline")
    baseline = chosen or present_baseline(results, choice.compare_to)
    table = arrange(results, metrics, baseline)  # columns in the order that was asked for
    axes = find_axes(table.rows)
    by, across, over = _axes_asked(request, axes)
    only = query.several(request, "only")
    kept = [row for row in table.rows if _keeps(row, axes, only)]
    made = pivot(table, axes, by, across, kept, over)
    headings = [heading(column) for column in made.columns]
    sort = query.choice(request, "sort", ["", *headings])
    worst_first = query.choice(request, "order", ["", "worst"]) == "worst"
    rows = ordered(made, headings.index(sort) if sort else None, worst_first)
    papers = beside(table.rows, metrics)
    # Numbers of rendered rooms stand beside the paper's for those only who ask for it.
    unasked = NONE if is_rendered(table) else next(iter(papers), NONE)
    paper = query.choice(request, "paper", [NONE, *papers], unasked)
    return View(
        run=run, table=table, axes=axes, by=by, across=across, over=over, only=only, sort=sort,
        worst_first=worst_first,
        pivot=made, rows=rows, family=store.family(run.run_id, choice, table.baseline),
        totals=store.results.scene_totals(results), paging=paging(request, "rows", len(rows)),
        papers=papers, paper=paper,
        stands_in="" if chosen else stands_in(table, choice.compare_to),
    )  # fmt: skip


def _axes_asked(request: Request, axes: Axes) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    by, over = query.several(request, "by"), query.several(request, "over")
    for name, paths in (("by", by), ("over", over)):
        for path in paths:
            if path not in axes.paths:
                raise ConfigError([Fault(f"the cells do not differ in {path!r}", path=name)])
    across = query.choice(request, "across", ["", *axes.paths])
    return tuple(path for path in by if path != across), across, over


def _keeps(row: Row, axes: Axes, only: Sequence[str]) -> bool:
    """Whether a cell has the wanted values; several values of one axis are alternatives."""
    wanted: dict[str, set[str]] = {}
    for each in only:
        path, _, value = each.partition("=")
        if path not in axes.paths:
            raise ConfigError([Fault(f"the cells do not differ in {path!r}", path="only")])
        wanted.setdefault(path, set()).add(value)
    return all(axes.value(row.cell_id, path) in values for path, values in wanted.items())


def _line(view: View, row: PivotRow, found: Differences) -> dict[str, Any]:
    cells = []
    for index, (column, entry) in enumerate(zip(view.pivot.columns, row.entries, strict=True)):
        difference = found.get((row.key, index))
        unit = column.metric.unit
        cells.append(
            {
                "text": value_text(entry, unit),
                "best": view.pivot.is_best(index, entry),
                "difference": difference_text(difference, unit) if difference else "",
                "paper": view.beside.text(row.members[index], column.metric.name)
                if view.beside
                else "",
                "why": "; ".join(entry.reasons.values()) if entry else "",
            }
        )
    return {"row": row, "cells": cells}


def _whole_sheet(view: View) -> Sheet:
    run = view.run
    title = f"{run.name} ({run.run_id}, {run.state})"
    found = view.differences(view.rows)
    legend = f"{view.stands_in} {view.legend}".strip()
    return pivot_sheet(title, view.pivot, view.rows, found, view.beside, legend)


def _csv(view: View) -> Table:
    return pivot_table(view.pivot, view.rows, view.differences(view.rows), view.beside)


def _chart(view: View) -> Chart:
    """The column that the rows are sorted by, else the first: a bar per row of this page."""
    headings = [heading(column) for column in view.pivot.columns]
    index = headings.index(view.sort) if view.sort else 0
    shown = view.rows[view.paging.first : view.paging.last]
    rows = [
        (", ".join(row.key), entry) for row in shown if (entry := row.entries[index]) is not None
    ]
    return means_chart("means", headings[index], view.pivot.columns[index].metric, rows)


PAGE = Page("Ablation table", "/table", show)
