"""Answers `/tuning`: all studies, or one with `?study=`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from threedrs_dashboards import query
from threedrs_dashboards.charts import Chart
from threedrs_dashboards.pages import Page, respond
from threedrs_dashboards.paging import paging
from threedrs_dashboards.store import store_of
from threedrs_dashboards.tables import Table
from threedrs_dashboards.tuning.figures import (
    front_chart,
    history_chart,
    importance_chart,
    params_text,
)
from threedrs_dashboards.tuning.parallel import parallel_chart
from threedrs_dashboards.tuning.study import StudyView, all_studies, read_study
from threedrs_platform.database.studies import TrialRow

LIVE_S = 5
ORDERS = ("number", "best first")


def show(request: Request) -> Response:
    """The list of studies, or one of them."""
    name = query.text(request, "study")
    if name:
        return _one(request, name)
    studies = all_studies(store_of(request).workspace)
    context = {"title": "Tuning", "studies": studies}
    return respond(request, "studies.html", context, tables={"studies": _studies_table(studies)})


def _one(request: Request, name: str) -> Response:
    study = read_study(store_of(request).workspace, name)
    metric = query.choice(request, "metric", study.facts.metrics)
    index = study.facts.metrics.index(metric)
    order = query.choice(request, "order", ORDERS)
    trials = _ordered(study, index) if order == ORDERS[1] else study.trials
    pages = paging(request, "trials", len(trials))
    context = {
        "title": f"Study {name}",
        "study": study,
        "metric": metric,
        "index": index,
        "order": order,
        "orders": ORDERS,
        "settings": _settings(study),
        "paging": pages,
        "trials": trials[pages.first : pages.last],
        "best": _best_text(study),
        "live": LIVE_S if study.states.get("running") else 0,
    }
    return respond(
        request, "study.html", context, _charts(study, index), {"trials": _trials_table(study)}
    )


def _charts(study: StudyView, metric: int) -> list[Chart]:
    if not study.complete:
        return []
    charts = [history_chart(study, metric)]
    importance = importance_chart(study, metric)
    if importance is not None:
        charts.append(importance)
    if len(study.facts.metrics) > 1:
        charts.append(front_chart(study, metric, 0 if metric else 1))
    return [*charts, parallel_chart(study, metric)]


def _best_text(study: StudyView) -> str:
    return params_text(study.best.params) if study.best and len(study.facts.metrics) == 1 else ""


def _ordered(study: StudyView, metric: int) -> tuple[TrialRow, ...]:
    """Complete trials best first, the others after them."""
    sign = -1 if study.is_higher_better(metric) else 1

    def place(trial: TrialRow) -> tuple[bool, float]:
        return not trial.values, sign * trial.values[metric] if trial.values else 0.0

    return tuple(sorted(study.trials, key=place))


def _settings(study: StudyView) -> list[str]:
    return list(study.facts.space) or sorted({key for t in study.trials for key in t.params})


def _trials_table(study: StudyView) -> Table:
    settings = _settings(study)
    rows = [
        (
            trial.number,
            trial.state,
            *(trial.params.get(path) for path in settings),
            *(trial.values or [None] * len(study.facts.metrics)),
            trial.number in study.front,
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


PAGE = Page("Tuning", "/tuning", show, keeps_run=False)
