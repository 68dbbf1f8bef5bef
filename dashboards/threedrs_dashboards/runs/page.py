"""Answers `/runs`: the list, or one run with `?run=`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response

from threedrs_dashboards import query
from threedrs_dashboards.charts import Chart
from threedrs_dashboards.pages import Page, respond
from threedrs_dashboards.paging import paging
from threedrs_dashboards.runs.costs import Cost, cell_counts, costs_by_kind, costs_of_runs
from threedrs_dashboards.runs.lost_work import lost_attempts, lost_table
from threedrs_dashboards.runs.marks import Mark, headlines, marks, matching
from threedrs_dashboards.runs.matrix import Matrix, count_cells, matrix
from threedrs_dashboards.runs.mlflow import PATH as MLFLOW
from threedrs_dashboards.runs.mlflow import lead
from threedrs_dashboards.store import LIVE_S, NoRunYet, store_of
from threedrs_dashboards.tables import Table
from threedrs_dashboards.templating import duration
from threedrs_platform.database.connection import Database
from threedrs_platform.database.measurements import RunSummary
from threedrs_platform.database.progress import RunProgress, run_progress
from threedrs_platform.database.runs import Runs
from threedrs_platform.states import RunState, StepState

MOST_SHOWN = 50
"""Failed and running steps that are listed; the CSV has all."""


def show(request: Request) -> Response:
    """The list of runs, or the run that the query string names."""
    if "run" in request.query_params:
        return _one(request)
    store = store_of(request)
    every = store.results.run_summaries()
    if not every:
        raise NoRunYet("no run has been submitted yet: `workflows submit` starts one")
    told = marks(store.database, [run.run_id for run in every])
    every = matching(every, told, query.text(request, "find"))
    pages = paging(request, "runs", len(every))
    shown = every[pages.first : pages.last]
    ids = [run.run_id for run in shown]
    costs = costs_of_runs(store.database, ids)
    context = {
        "title": "Runs",
        "paging": pages,
        "runs": shown,
        "states": {run.run_id: _state_of(store.database, run) for run in shown},
        "find": query.text(request, "find"),
        "marks": told,
        "headlines": headlines(store.database, ids),
        "costs": {run_id: costs.get(run_id, Cost()) for run_id in ids},
        "counts": cell_counts(store.database, ids),
        "live": LIVE_S if any(run.state is RunState.RUNNING for run in shown) else 0,
    }
    return respond(request, "runs.html", context, tables={"runs": lambda: _runs_table(every, told)})


def _one(request: Request) -> Response:
    store = store_of(request)
    run = store.run(query.text(request, "run"))
    look = run_progress(store.database, run.run_id, store.workspace.root)
    state, words = query.choice(request, "state", ["", *StepState]), query.text(request, "find")
    pages = paging(request, "cells", count_cells(store.database, run.run_id, state, words))
    costs = costs_by_kind(store.database, run.run_id)
    lost = lost_attempts(store.database, run.run_id)
    context = {
        "title": f"Run of {run.name}",
        "run": run,
        "look": look,
        "lost": lost,
        "mark": marks(store.database, [run.run_id])[run.run_id],
        "state": _state(look),
        "elapsed": look.elapsed_s or 0.0,
        "live": store.refresh_s(run.run_id),
        "total": costs_of_runs(store.database, [run.run_id]).get(run.run_id, Cost()),
        "matrix": matrix(store.database, run.run_id, pages.first, pages.per_page, state, words),
        "paging": pages,
        "states": list(StepState),
        "chosen_state": state,
        "find": words,
        "most": MOST_SHOWN,
    }
    tables = {
        "failed": lambda: _failed_table(look),
        "attempts": lambda: lost_table(lost),
        "matrix": lambda: _whole_matrix(store.database, run.run_id, state, words),
    }
    return respond(request, "run.html", context, [_cost_chart(costs)] if costs else (), tables)


def _state_of(database: Database, run: RunSummary) -> str:
    """As `_state`, of a run in a list."""
    is_alone = run.state is RunState.RUNNING and not Runs(database).get(run.run_id).has_live_owner
    return str(RunState.INTERRUPTED if is_alone else run.state)


def _state(look: RunProgress) -> str:
    """The run's state; "interrupted" also where its supervisor died without a word."""
    if look.run.state is RunState.RUNNING and not look.run.has_live_owner:
        return str(RunState.INTERRUPTED)
    return str(look.run.state)


def _cost_chart(costs: dict[str, Cost]) -> Chart:
    """Wall clock alone: hours of CPUs and GPUs on the same axis would be added up by the eye."""
    kinds, each = list(costs), list(costs.values())
    unit, divisor = _time_unit(max(cost.seconds for cost in each))
    parts = {
        "kept": ([cost.seconds - cost.wasted_s for cost in each], ""),
        "lost: attempts that failed": ([cost.wasted_s for cost in each], "x"),
    }
    traces = [
        {
            "type": "bar",
            "name": name,
            "x": kinds,
            "y": [value / divisor for value in seconds],
            "hovertext": [f"CPU {duration(c.cpu_s)}, GPU {duration(c.gpu_s)}" for c in each],
            "marker": {"pattern": {"shape": shape}},
        }
        for name, (seconds, shape) in parts.items()
        if any(seconds)
    ]
    rows = [
        (kind, c.attempts, c.seconds, c.cpu_s, c.gpu_s, c.wasted_s, c.largest_rss)
        for kind, c in costs.items()
    ]
    header = ("kind", "attempts", "seconds", "cpu_s", "gpu_s", "lost_s", "largest_rss_bytes")
    first, most = next(iter(costs.items()))
    attempts = "1 attempt" if most.attempts == 1 else f"{most.attempts} attempts"
    return Chart(
        name="cost",
        title="Time by kind of step",
        traces=traces,
        table=Table(header, rows),
        summary=f"Wall clock, summed over attempts, in {unit}; {first} took most: "
        f"{duration(most.seconds)} in {attempts}. CPU and GPU time: on the bars, and in the data.",
        layout={
            "barmode": "stack",
            "yaxis": {"title": {"text": f"wall clock ({unit})"}},
            "xaxis": {"title": {"text": "kind of step"}},
        },
        height=300,
    )


def _time_unit(most_s: float) -> tuple[str, float]:
    """A unit in which the longest of some times is easily read, and its seconds."""
    if most_s < 180:
        return "seconds", 1.0
    return ("minutes", 60.0) if most_s < 10800 else ("hours", 3600.0)


def _runs_table(runs: Sequence[RunSummary], told: Mapping[str, Mark]) -> Table:
    rows = [
        (run.run_id, run.name, str(run.state), run.created_at, run.finished_at, run.grid_file,
         mark.asked, mark.note, mark.commit)
        for run in runs
        for mark in [told[run.run_id]]
    ]  # fmt: skip
    header = ("run", "name", "state", "created_at", "finished_at", "grid_file", "asked", "note",
              "commit")  # fmt: skip
    return Table(header, rows)


def _failed_table(look: RunProgress) -> Table:
    rows = [
        (each.key, each.kind, each.label, each.failure, each.attempts, "; ".join(each.cells),
         each.message)
        for each in look.failed
    ]  # fmt: skip
    return Table(("step", "kind", "label", "failure", "attempts", "cells", "message"), rows)


def _whole_matrix(database: Database, run_id: str, state: str, words: str) -> Table:
    every = matrix(database, run_id, 0, 10**9, state, words)
    return Table(("cell_id", "cell", "seed", "state", *every.roles), _matrix_rows(every))


def _matrix_rows(every: Matrix) -> list[tuple[object, ...]]:
    return [
        (row.cell_id, row.title, row.seed, row.state, *states)
        for row in every.rows
        for states in [[row.steps[r].state if r in row.steps else "" for r in every.roles]]
    ]


PAGE = Page("Runs", "/runs", show, more={MLFLOW: lead}, keeps_run=False)
