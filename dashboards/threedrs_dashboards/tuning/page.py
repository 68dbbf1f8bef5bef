"""Answers `/tuning`: all studies, or one with `?study=`; and which of its trials are brushed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from threedrs_components.report.study_figures import (
    StudyFigure,
    arm_titles,
    arms_figure,
    params_text,
    study_figures,
)
from threedrs_dashboards import query
from threedrs_dashboards.charts import Chart
from threedrs_dashboards.pages import Page, respond
from threedrs_dashboards.paging import paging
from threedrs_dashboards.store import store_of
from threedrs_dashboards.tables import Table
from threedrs_dashboards.tuning.brush import brush_axes, find_brush
from threedrs_platform.database.studies import FACTS, find_studies, load_study, read_study
from threedrs_platform.database.trials import StudyView, TrialRow
from threedrs_platform.workspace import Workspace

LIVE_S = 5
ORDERS = ("number", "best first")
WIDE = ("curves", "slices", "parallel")
"""Figures that take the whole width."""


def show(request: Request) -> Response:
    """The list of studies, or one of them."""
    name = query.text(request, "study")
    if name:
        return _one(request, name)
    studies, damages = current_studies(store_of(request).workspace)
    context = {
        "title": "Tuning",
        "studies": studies,
        "titles": _titles(studies),
        "damages": damages,
    }
    tables = {"studies": _studies_table(studies)}
    return respond(request, "studies.html", context, _arms_charts(studies), tables)


def _searches(studies: list[StudyView]) -> dict[str, list[StudyView]]:
    """Name of a search -> its arms."""
    found: dict[str, list[StudyView]] = {}
    for study in studies:
        found.setdefault(study.facts.run, []).append(study)
    return found


def _titles(studies: list[StudyView]) -> dict[str, str]:
    """Study -> short name."""
    return {
        arm.name: f"{search}: {title}" if len(arms) > 1 else arm.name
        for search, arms in _searches(studies).items()
        for arm, title in zip(arms, arm_titles(arms), strict=True)
    }


def _arms_charts(studies: list[StudyView]) -> list[Chart]:
    """One per search of several arms and metric that all of them measure."""
    charts: list[Chart] = []
    for search, arms in _searches(studies).items():
        for metric in arms[0].facts.metrics if len(arms) > 1 else ():
            if all(metric in arm.facts.metrics for arm in arms):
                name = f"arms{len(charts)}"
                charts.append(
                    _chart(replace(arms_figure(arms, metric), name=name), [metric], search)
                )
    return charts


def _one(request: Request, name: str) -> Response:
    study = read_study(load_study(store_of(request).workspace, name))
    metric = query.choice(request, "metric", study.facts.metrics)
    index = study.facts.metrics.index(metric)
    order = query.choice(request, "order", ORDERS)
    trials = _best_first(study, index) if order == ORDERS[1] else study.trials
    pages = paging(request, "trials", len(trials))
    axes = brush_axes(study)
    context = {
        "title": _title(study),
        "study": study,
        "metric": metric,
        "index": index,
        "order": order,
        "orders": ORDERS,
        "notes": study.notes(),
        "front": {trial.number for trial in study.best},
        "paging": pages,
        "trials": trials[pages.first : pages.last],
        "best": _best_text(study),
        "edges": study.edges(),
        "ties": study.ties(),
        "wide": WIDE,
        "axes": axes,
        "brush": find_brush(request, study, axes),
        "live": LIVE_S if study.counts.get("running") and not study.replaced_by else 0,
    }
    return respond(
        request, "study.html", context, _charts(study, index), {"trials": _trials_table(study)}
    )


def _title(study: StudyView) -> str:
    """What was searched, and which arm of it."""
    if not study.facts.arm:
        return f"Study {study.name}"
    return f"Study of {study.facts.run}: {arm_titles([study])[0]}"


def brushed(request: Request) -> Response:
    """The trials that a URL brushes, for `static/tuning.js`."""
    name = query.text(request, "study")
    study = read_study(load_study(store_of(request).workspace, name), with_importance=False)
    found = find_brush(request, study, brush_axes(study))
    return JSONResponse({"lit": None if found.lit is None else sorted(found.lit)})


def current_studies(workspace: Workspace) -> tuple[list[StudyView], list[str]]:
    """Every study of a workspace but those that another one replaces, without importance.

    Returns:
        The studies, and what is wrong with those that cannot be read.
    """
    names, damages = find_studies(workspace)
    studies = [load_study(workspace, name) for name in names]
    # A study that is being made at this moment has no facts yet.
    views = [read_study(each, False) for each in studies if FACTS in each.user_attrs]
    return [view for view in views if not view.replaced_by], damages


def _charts(study: StudyView, metric: int) -> list[Chart]:
    names = [*study.facts.metrics, study.facts.watched.lstrip("-")]
    return [_chart(figure, names) for figure in study_figures(study, metric)]


def _chart(figure: StudyFigure, names: Sequence[str], search: str = "") -> Chart:
    title = f"{search}: {figure.title}" if search else figure.title
    table = Table(figure.header, figure.rows)
    said = " ".join([figure.title, *figure.header])
    told = [name for name in names if name in said]
    return Chart(
        figure.name, title, figure.traces, table, figure.summary, figure.layout, figure.height, told
    )


def _best_text(study: StudyView) -> str:
    is_one = len(study.facts.metrics) == 1 and study.best
    return params_text(study.best[0].params) if is_one else ""


def _best_first(study: StudyView, metric: int) -> list[TrialRow]:
    """Complete trials best first, the others after them."""
    ranked = study.ranked(metric)
    numbers = {trial.number for trial in ranked}
    return [*ranked, *(trial for trial in study.trials if trial.number not in numbers)]


def _trials_table(study: StudyView) -> Table:
    settings, front = study.settings, {trial.number for trial in study.best}
    rows = [
        (
            trial.number,
            trial.state,
            *(trial.params.get(path) for path in settings),
            *(trial.values or [None] * len(study.facts.metrics)),
            trial.number in front,
            trial.seconds,
            trial.cell_id,
            trial.reason,
        )
        for trial in study.trials
    ]
    ending = ("on_front", "seconds", "cell_id", "reason")
    return Table(("trial", "state", *settings, *study.facts.metrics, *ending), rows)


def _studies_table(studies: list[StudyView]) -> Table:
    rows = [
        (study.name, len(study.trials), study.facts.trials, len(study.complete),
         ", ".join(study.facts.metrics), study.facts.run_id)
        for study in studies
    ]  # fmt: skip
    return Table(("study", "trials", "budget", "complete", "metrics", "run"), rows)


PAGE = Page("Tuning", "/tuning", show, more={"/tuning/brushed": brushed}, keeps_run=False)
