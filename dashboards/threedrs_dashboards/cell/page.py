"""Answers `/cell`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from threedrs_dashboards import query
from threedrs_dashboards.ablation.axes import named_paths
from threedrs_dashboards.cell.ancestry import ancestry, ancestry_table
from threedrs_dashboards.cell.curves import CurveName, curve_chart, open_curves
from threedrs_dashboards.cell.measured import (
    comparison,
    groups,
    numbers,
    numbers_table,
    questions_chart,
)
from threedrs_dashboards.cell.samples import samples, samples_table, scored_metrics
from threedrs_dashboards.cell.settings import settings
from threedrs_dashboards.cell.subject import Subject, find_subject
from threedrs_dashboards.charts import Chart
from threedrs_dashboards.choices import HEADLINES, first_of
from threedrs_dashboards.pages import Focus, Page, one_cell, respond
from threedrs_dashboards.store import Store, store_of
from threedrs_dashboards.tables import LazyTable, Table
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.database.grid_choice import grid_choice
from threedrs_platform.errors import ConfigError, Fault

CURVES_AT_FIRST = 4
MOST_SAMPLES = 10
"""At either end; the CSV has all."""


def show(request: Request) -> Response:
    """One cell under one seed."""
    store = store_of(request)
    subject = find_subject(request, store)
    table = comparison(subject)
    steps = ancestry(store.database, subject.cell)
    curves = open_curves(store, subject.replicates)
    names = curves.names([(step.key, step.role) for step in reversed(steps)])
    drawn = _chosen_curves(request, names)
    by_type = groups(subject.cell.measurements)
    wanted = grid_choice(store.database, subject.run.run_id).metrics
    group = (
        query.choice(request, "group", first_of(by_type, wanted or HEADLINES)) if by_type else ""
    )
    charts: list[Chart] = []
    if group:
        charts.append(questions_chart(subject, table, group, by_type[group]))
    charts += [
        curve_chart(curves, subject.replicates, curve, index) for index, curve in enumerate(drawn)
    ]
    tables: dict[str, Table | LazyTable] = {
        "numbers": lambda: numbers_table(subject, table),
        "lineage": lambda: ancestry_table(steps),
    }
    context = {
        "title": f"Cell {subject.cell.title}",
        "run": subject.run,
        "subject": subject,
        "focus": Focus(subject.cell.cell_id, subject.against[0].cell_id, subject.cell.seed),
        "settings": settings(
            subject.cell.params,
            subject.twin.params,
            named_paths(f"{subject.cell.name},{subject.twin.name}"),
        ),
        "numbers": numbers(subject, table, wanted),
        "groups": list(by_type),
        "group": group,
        "curves": [str(name) for name in names],
        "drawn": [str(name) for name in drawn],
        "steps": steps,
        "live": store.refresh_s(subject.run.run_id),
        **_samples(request, store, subject, tables, wanted),
    }
    return respond(request, "cell.html", context, charts, tables)


def _chosen_curves(request: Request, names: list[CurveName]) -> list[CurveName]:
    by_text = {str(name): name for name in names}
    asked = query.several(request, "curve")
    for each in asked:
        if each not in by_text:
            raise ConfigError([Fault(f"no curve {each!r}{did_you_mean(each, by_text)}", "curve")])
    return [by_text[each] for each in asked] or names[:CURVES_AT_FIRST]


def _samples(
    request: Request,
    store: Store,
    subject: Subject,
    tables: dict[str, Table | LazyTable],
    wanted: Sequence[str],
) -> dict[str, Any]:
    """The worst and the best samples of the chosen metric."""
    metrics = scored_metrics(store.database, subject.cell)
    if not metrics:
        return {"scored": [], "metric": "", "extremes": {}}
    metric = query.choice(request, "metric", first_of(metrics, wanted))
    mine = subject.cell.measurements[metric]
    baseline = None if subject.is_baseline else subject.twin.measurements.get(metric)
    database = store.database
    tables["samples"] = lambda: samples_table(database, mine, baseline)
    extremes = {
        title: samples(database, mine, baseline, best, count=MOST_SAMPLES)
        for title, best in (("Worst samples", False), ("Best samples", True))
    }
    return {"scored": metrics, "metric": metric, "extremes": extremes}


PAGE = Page("Cell", "/cell", show, words=one_cell)
