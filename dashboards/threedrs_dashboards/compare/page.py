"""Answers `/compare`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from threedrs_components.report.sheets import MARKS, references
from threedrs_dashboards import query
from threedrs_dashboards.cell.curves import CurveName, Curves, open_curves
from threedrs_dashboards.charts import Chart
from threedrs_dashboards.choices import chosen_metrics, first_of
from threedrs_dashboards.compare.arms import Arm, find_arms, find_offer
from threedrs_dashboards.compare.at_step import AtStep, at_step, at_step_table
from threedrs_dashboards.compare.beside import (
    differing_settings,
    measured,
    metric_lines,
    metric_names,
    metrics_table,
    settings_table,
)
from threedrs_dashboards.compare.overlay import (
    CURVES_AT_FIRST,
    overlay_chart,
    shared_names,
    unlike_sums,
)
from threedrs_dashboards.compare.questions import (
    Asked,
    Question,
    ask,
    questions,
    scored_names,
)
from threedrs_dashboards.pages import Focus, respond
from threedrs_dashboards.store import Store, store_of
from threedrs_dashboards.tables import LazyTable, Table
from threedrs_dashboards.viewer.answers import truth_text
from threedrs_dashboards.viewer.scene_view import answer_table
from threedrs_platform.database.grid_choice import grid_choice
from threedrs_platform.errors import ConfigError, Fault, ThreedrsError

ALL_SEEDS = "all"
LAST_STEP = 10**9


def show(request: Request) -> Response:
    """The chosen cells side by side; cells to choose from where there are fewer than two."""
    store = store_of(request)
    arms = find_arms(request, store)
    offer = find_offer(request, store, arms)
    context: dict[str, Any] = {
        "title": "Compare",
        "run": arms[0].run if arms else offer.run,
        "arms": arms,
        "focus": _focus(arms),
        "offer": offer,
        "kept": [(key, value) for key, value in request.query_params.multi_items()
                 if key not in ("cell", "from", "csv")],
        "live": 0,
        "asked": None,
    }  # fmt: skip
    if not arms:
        return respond(request, "compare.html", context)
    seed = _seed(request, arms)
    charts, tables = _fill(request, store, arms, seed, context)
    return respond(request, "compare.html", context, charts, tables)


def show_step(request: Request) -> Response:
    """The part of the page that follows the slider over steps of the training."""
    store = store_of(request)
    arms = find_arms(request, store)
    if not arms:
        raise ConfigError([Fault("no cells are named", path="cell")])
    seed = _seed(request, arms)
    curves = open_curves(store, (cell for arm in arms for cell in arm.replicates))
    reached = _reached(request, curves, arms, seed, shared_names(curves, arms))
    if reached is None:
        raise ConfigError([Fault("none of these cells has logged a training step", path="step")])
    context = {"title": "Compare", "arms": arms, "seed": seed, "reached": reached}
    tables = {"step": at_step_table(reached, arms)}
    return respond(request, "at_step.html", context, tables=tables)


def _reached(
    request: Request,
    curves: Curves,
    arms: Sequence[Arm],
    seed: int | None,
    names: Sequence[CurveName],
) -> AtStep | None:
    """The arms by the training step of the URL; by the last one, where it names none."""
    return at_step(curves, arms, names, seed, query.number(request, "step", LAST_STEP))


def _focus(arms: Sequence[Arm]) -> Focus | None:
    """The reference and the first other cell, where both are of one run."""
    if len(arms) < 2 or arms[0].run.run_id != arms[1].run.run_id:
        return None
    return Focus(arms[1].cell_id, arms[0].cell_id)


def _seed(request: Request, arms: Sequence[Arm]) -> int | None:
    every = sorted({seed for arm in arms for seed in arm.seeds})
    given = query.choice(request, "seed", [ALL_SEEDS, *map(str, every)])
    return None if given == ALL_SEEDS else int(given)


def _fill(
    request: Request, store: Store, arms: Sequence[Arm], seed: int | None, context: dict[str, Any]
) -> tuple[list[Chart], dict[str, Table | LazyTable]]:
    """Everything that is shown of the arms."""
    names = metric_names(arms)
    choice = grid_choice(store.database, arms[0].run.run_id)
    metrics = chosen_metrics(request, names, choice.metrics)
    beside = measured(store, arms, metrics, choice)
    short, rest = differing_settings(beside, arms)
    curves = open_curves(store, (cell for arm in arms for cell in arm.replicates))
    logged = shared_names(curves, arms)
    drawn = _drawn(request, logged)
    reached = _reached(request, curves, arms, seed, logged)
    marked = reached.step if reached and query.text(request, "step") else None
    charts = [
        overlay_chart(curves, arms, name, index, seed, marked) for index, name in enumerate(drawn)
    ]
    context |= {
        "seed": seed,
        "seeds": sorted({each for arm in arms for each in arm.seeds}),
        "all_seeds": ALL_SEEDS,
        "names": names,
        "metrics": metrics,
        "lines": metric_lines(beside),
        "against": references(beside.table.columns),
        "tests": beside.tests,
        "marks": MARKS,
        "short": short,
        "rest": rest,
        "logged": [str(name) for name in logged],
        "drawn": [str(name) for name in drawn],
        "reached": reached,
        "unlike": unlike_sums(curves, arms),
        "live": max(store.refresh_s(run_id) for run_id in {arm.run.run_id for arm in arms}),
    }
    tables: dict[str, Table | LazyTable] = {
        "metrics": lambda: metrics_table(beside, arms),
        "settings": lambda: settings_table(arms, [*short, *rest]),
    }
    if reached is not None:
        tables["step"] = at_step_table(reached, arms)
    asked = _asked(request, store, arms, seed, context)
    if asked is not None:
        tables["answers"] = lambda: answer_table(asked.given)
        charts += [asked.chart] if asked.chart is not None else []
    return charts, tables


def _drawn(request: Request, logged: Sequence[CurveName]) -> list[CurveName]:
    asked = query.several(request, "curve")
    return [name for name in logged if str(name) in asked] or list(logged[:CURVES_AT_FIRST])


def _asked(
    request: Request, store: Store, arms: Sequence[Arm], seed: int | None, context: dict[str, Any]
) -> Asked | None:
    """The question of the URL; else the one on which the arms differ most."""
    wanted = grid_choice(store.database, arms[0].run.run_id).metrics
    scored = first_of(scored_names(store, arms, seed), wanted)
    context |= {"scored": scored, "by": "", "offered": [], "sample": "", "why_unasked": ""}
    context |= {"before": None, "after": None}
    if not scored:
        return None
    by = query.choice(request, "by", scored)
    offered = questions(store, arms, seed, by)
    sample, scene = query.text(request, "sample"), query.text(request, "scene")
    known = {each.sample_id: each.scene_id for each in offered}
    if not sample and offered:
        sample = offered[0].sample_id
    scene = known.get(sample, scene)
    context |= {"by": by, "offered": offered, "sample": sample, "scene": scene}
    context |= _neighbours(offered, sample)
    try:
        asked = ask(store, arms, seed, scene, sample)
    except ThreedrsError as error:  # scores outlive the artifacts behind them
        context["why_unasked"] = str(error)
        return None
    context |= {"asked": asked, "truth": truth_text(asked.sample)}
    return asked


def _neighbours(offered: Sequence[Question], sample: str) -> dict[str, Question | None]:
    """The questions before and after one, in the order in which they are offered."""
    at = next((index for index, each in enumerate(offered) if each.sample_id == sample), None)
    if at is None:
        return {}
    after = offered[at + 1] if at + 1 < len(offered) else None
    return {"before": offered[at - 1] if at else None, "after": after}
