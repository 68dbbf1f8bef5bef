"""The report of a run in the database, as its grid wants it, and everything worth keeping of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from threedrs_components.report.document import EVERY_METRIC, Report, make_report
from threedrs_components.report.render import render
from threedrs_components.report.table import (
    BASE,
    ResultTable,
    arrange,
    find_baseline,
    present_baseline,
    result_table,
)
from threedrs_platform.database.connection import Database
from threedrs_platform.database.grid_choice import GridChoice, grid_choice
from threedrs_platform.database.measurements import CellResult, RunResults
from threedrs_platform.database.results import Results
from threedrs_platform.database.runs import Runs
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.garbage import uncollected
from threedrs_workflows.grid.where import parse_where, values_told

FILES = {
    "report.txt": "table",
    "report.md": "md",
    "report.html": "html",
    "report.tex": "latex",
    "report.csv": "csv",
    "report.json": "json",
}


@uncollected()
def run_report(
    database: Database,
    run_id: str,
    metrics: Sequence[str] = (),
    baseline: str | None = None,
    where: str | None = None,
) -> Report:
    """The report of a run.

    Args:
        metrics: patterns; none means what the grid's `report.metrics` says, else the headlines.
        baseline: a cell; None means what the grid's `report.compare_to` says.
        where: keep only the cells for which this expression holds, and the baseline.

    Raises:
        ConfigError: a pattern, a cell or the expression fits nothing.
    """
    choice = report_choice(database, run_id)
    store = Results(database)
    results = store.run_results(run_id)
    totals = store.scene_totals(results)
    shown = _chosen(results, choice, baseline, where)
    report = make_report(
        results,
        totals,
        metrics,
        baseline,
        compare_to=choice.compare_to,
        reported=choice.metrics,
        shown=shown,
        smoke=bool(Runs(database).get(run_id).options.get("smoke")),
    )
    return replace(report, notes=(*report.notes, *_about_annotations(database, run_id)))


def _about_annotations(database: Database, run_id: str) -> list[str]:
    """Which revisions of the annotations the numbers are of: another one gives other numbers."""
    contents = [params.get("content") for params in Runs(database).params_of(run_id, "samples")]
    if not any(contents):
        return []
    from threedrs_workflows.steps.params.samples import RECORDS  # brings all of the benchmarks

    found = {
        (name.removeprefix(RECORDS), digest[:12])
        for content in contents
        for name, digest in (content or {}).items()
        if name.startswith(RECORDS)
    }
    if not found:
        return []
    listed = ", ".join(f"{name} {digest}" for name, digest in sorted(found))
    return [f"annotation files, by the first digits of their sha256: {listed}"]


def run_table(
    database: Database, run_id: str, baseline: str | None = None, where: str | None = None
) -> ResultTable:
    """All numbers of a run, without comparisons; arguments and errors as of `run_report`."""
    results = Results(database).run_results(run_id)
    choice = report_choice(database, run_id)
    compare_to = baseline or present_baseline(results, choice.compare_to)
    return result_table(_chosen(results, choice, baseline, where), EVERY_METRIC, compare_to)


def _chosen(
    results: RunResults, choice: GridChoice, baseline: str | None, where: str | None
) -> RunResults:
    """The cells for which an expression holds, and the baseline; all without an expression."""
    if not where:
        return results
    compare_to = baseline or present_baseline(results, choice.compare_to)
    return matching(results, where, find_baseline(arrange(results, ()).rows, compare_to))


def matching(results: RunResults, where: str, keep: str | None = None) -> RunResults:
    """The cells for which an expression over their parameters, name, label and seed holds.

    Args:
        keep: id of a cell that stays in any case.

    Raises:
        ConfigError: not an expression, an unknown name, or no cell is left.
    """
    values = {id(cell): _values(cell) for cell in results.cells}
    known = {name for each in values.values() for name in each}
    try:
        condition = parse_where(where, known)
        holds = {key for key, settings in values.items() if condition.holds(settings.get)}
    except ConfigError as error:
        faults = [Fault(f.message, where, "--where", None, f.column) for f in error.faults]
        raise ConfigError(faults) from None
    if not holds:
        told = values_told(condition, [each.get for each in values.values()])
        raise ConfigError([Fault(f"holds for none of the cells{told}", where, "--where")])
    chosen = tuple(each for each in results.cells if id(each) in holds or each.cell_id == keep)
    return replace(results, cells=chosen)


def _values(cell: CellResult) -> dict[str, Any]:
    return {**cell.settings, "name": cell.name, "label": cell.label, "seed": cell.seed}


def report_choice(database: Database, run_id: str) -> GridChoice:
    """The `report` section of the grid that was submitted; it compares to its base by default."""
    choice = grid_choice(database, run_id)
    return replace(choice, compare_to=choice.compare_to or BASE)


def report_files(database: Database, run_id: str) -> dict[str, str]:
    """The grid as submitted, the resolved cells, the report in every format, the plots.

    What the grid reports and nothing has measured is a column of missing numbers.
    """
    from threedrs_components.report.figures import figures

    grid_yaml = Runs(database).get(run_id).grid_yaml
    report = run_report(database, run_id)
    rows = report.table.rows
    cells = {row.title: dict(row.replicates[0].params) for row in rows}
    plots = {f"figures/{name}": text for name, text in figures(report).items()}
    return {
        "grid.yaml": grid_yaml,
        "cells.json": json.dumps(cells, indent=2, sort_keys=True),
        **{name: render(report, style) for name, style in FILES.items()},
        **plots,
    }
