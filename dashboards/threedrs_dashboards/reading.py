"""Answers `/reading`: what a run says, in sentences, with its main table and its layer map.

Everything is the run's report, as `workflows results` prints it and `workflows report` writes it.
"""

from __future__ import annotations

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from threedrs_components.report.document import Report
from threedrs_components.report.findings import summary
from threedrs_components.report.heat_maps import layer_map_figure
from threedrs_components.report.layer_map import layer_map_csv
from threedrs_components.report.sheets import (
    CLAIMS_TITLE,
    MOST_METRIC_COLUMNS,
    Sheet,
    paragraphs,
    sheets,
)
from threedrs_dashboards import query
from threedrs_dashboards.pages import Page, respond
from threedrs_dashboards.reported import report_of
from threedrs_dashboards.store import store_of
from threedrs_dashboards.tables import Table, file_response
from threedrs_platform.garbage import uncollected

PATH = "/reading"
LAYER_MAP = "layer_map"
MOST_ROWS = 24
"""Cells of the main table that are shown here; all are on the page of the table."""
SHORT = 12
"""Longer lists of sentences are folded."""


@uncollected()
def show(request: Request) -> Response:
    """The reading of `?run=`, by default the newest run."""
    store = store_of(request)
    run = store.run(query.text(request, "run"))
    report, _ = report_of(store, run)
    if report.layer_map and query.text(request, "csv") == LAYER_MAP:
        text = layer_map_csv(report.layer_map)
        return file_response(text, f"{LAYER_MAP}.csv", "text/csv; charset=utf-8")
    sheet, cells = main_sheet(report), len(report.table.rows)
    context = {
        "title": "Reading",
        "run": run,
        "report": report,
        "sheet": sheet,
        "shown": (*sheet.rows[:cells][:MOST_ROWS], *sheet.rows[cells:]),
        "cells": cells,
        "left_out": max(0, cells - MOST_ROWS),
        "summary": summary(report.findings),
        "claims_title": CLAIMS_TITLE,
        "paragraphs": [each for each in paragraphs(report) if each[0] != CLAIMS_TITLE],
        "short": SHORT,
        "layer_map": Markup(layer_map_figure(report.layer_map)) if report.layer_map else "",
        "layer_map_csv": LAYER_MAP,
    }
    tables = {"main": Table(sheet.header, sheet.rows), "claims": _claims(report)}
    return respond(request, "reading.html", context, tables=tables)


def main_sheet(report: Report) -> Sheet:
    """The results, cells as rows however many metrics there are."""
    return sheets(report, pivot=len(report.table.columns) > MOST_METRIC_COLUMNS)[0]


def _claims(report: Report) -> Table:
    rows = [(each.claim, each.verdict, each.evidence, each.caveat) for each in report.findings]
    return Table(("claim", "verdict", "evidence", "caveat"), rows)


PAGE = Page("Reading", PATH, show)
