"""Answers `/glossary`: what metric names mean, and which words mean what where."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from threedrs_components.report.metric_words import WORDS
from threedrs_dashboards import query
from threedrs_dashboards.pages import Page, respond
from threedrs_dashboards.tables import Table


def show(request: Request) -> Response:
    """All parts of metric names, or those that hold `?find=`."""
    wanted = query.text(request, "find").lower()
    groups = {
        heading: found
        for heading, words in WORDS.items()
        if (found := {k: v for k, v in words.items() if wanted in k.lower() or wanted in v.lower()})
    }
    rows = [(heading, *each) for heading, words in WORDS.items() for each in words.items()]
    context = {"title": "Glossary", "groups": groups, "find": query.text(request, "find")}
    tables = {"glossary": Table(("group", "part", "meaning"), rows)}
    return respond(request, "glossary.html", context, tables=tables)


PAGE = Page("Glossary", "/glossary", show)
