"""The Runs page: all submissions, and one of them as it goes."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from threedrs_dashboards.pages import Page, respond
from threedrs_dashboards.paging import paging
from threedrs_dashboards.store import store_of


def show(request: Request) -> Response:
    """The list of runs."""
    summaries = store_of(request).results.run_summaries()
    pages = paging(request, "runs", len(summaries))
    context = {"title": "Runs", "paging": pages, "runs": summaries[pages.first : pages.last]}
    return respond(request, "runs.html", context)


PAGE = Page("Runs", "/runs", show)
