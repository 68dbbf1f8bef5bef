"""The report of a run in the database, as its grid wants it, and everything worth keeping of it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from threedrs_platform.database import Database
from threedrs_platform.results import Results
from threedrs_platform.runs import Runs
from threedrs_platform.strict_yaml import load_document
from threedrs_workflows.grid_file import ReportChoice
from threedrs_workflows.report.document import Report, make_report
from threedrs_workflows.report.figures import figures
from threedrs_workflows.report.render import render

FILES = {
    "report.txt": "table",
    "report.md": "md",
    "report.html": "html",
    "report.tex": "latex",
    "report.csv": "csv",
    "report.json": "json",
}


def run_report(
    database: Database, run_id: str, metrics: Sequence[str] = (), baseline: str | None = None
) -> Report:
    """The report of a run.

    Args:
        metrics: patterns; none means what the grid's `report.metrics` says, else the headlines.
        baseline: a cell; None means what the grid's `report.compare_to` says.
    """
    store = Results(database)
    results = store.run_results(run_id)
    choice = report_choice(database, run_id)
    return make_report(
        results,
        store.scene_totals(results),
        metrics or choice.metrics,
        baseline or choice.compare_to,
    )


def report_choice(database: Database, run_id: str) -> ReportChoice:
    """The `report` section of the grid that was submitted."""
    data = load_document(Runs(database).get(run_id).grid_yaml, "the submitted grid").data
    return ReportChoice.model_validate(data.get("report") or {})


def report_files(database: Database, run_id: str) -> dict[str, str]:
    """The grid as submitted, the resolved cells, the report in every format, the plots."""
    report = run_report(database, run_id)
    rows = report.table.rows
    cells = {row.title: dict(row.replicates[0].params) for row in rows}
    plots = {f"figures/{name}": text for name, text in figures(report).items()}
    return {
        "grid.yaml": Runs(database).get(run_id).grid_yaml,
        "cells.json": json.dumps(cells, indent=2, sort_keys=True),
        **{name: render(report, style) for name, style in FILES.items()},
        **plots,
    }
