"""Answers the Correspondence page."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.responses import Response

from threedrs_components.report.metric_words import readable
from threedrs_dashboards.charts import Chart
from threedrs_dashboards.correspondence.choices import SCORE, UNITS, Choices, choices
from threedrs_dashboards.correspondence.figures import (
    QUARTILES,
    before_after_chart,
    histogram_chart,
    quartile_chart,
    scatter_chart,
    spread_chart,
)
from threedrs_dashboards.correspondence.gains import gains
from threedrs_dashboards.correspondence.scores import SamplePoint, sample_points
from threedrs_dashboards.correspondence.study import Scored, quartiles, scored_cell
from threedrs_dashboards.pages import Focus, Page, one_cell, respond
from threedrs_dashboards.paging import paging
from threedrs_dashboards.query import choice, url
from threedrs_dashboards.store import Store, store_of
from threedrs_dashboards.viewer import PAGE as SCENES
from threedrs_dashboards.viewer.cells import PROBE, TEACHER_PROBE, CellChoice
from threedrs_platform.database.scene_sums import SceneSums
from threedrs_platform.database.score_sums import scene_sums

PATH = "/correspondence"
MOST_POINTS = 2000
ROWS_PER_PAGE = 20
POINTS_PAGE = "points"
ORDERS = ("lowest score", "highest score", "lowest metric", "highest metric")


def show(request: Request) -> Response:
    """The page."""
    store = store_of(request)
    asked = choices(request, store)
    cells = _with_focus(asked)
    scored = {each.cell_id: each for each in _scored(store, asked, cells)}
    shown = [scored[cell.cell_id] for cell in asked.shown]
    focus, baseline = scored[asked.cell.cell_id], scored[asked.against.cell_id]
    ids = [cell.cell_id for cell in asked.shown]
    found = gains(store, asked.run.run_id, asked.score, ids, asked.against.cell_id)
    charts = [
        spread_chart(shown, asked.score, asked.score_unit),
        before_after_chart(shown, baseline, asked.score, found, asked.score_unit),
        histogram_chart(focus, baseline, asked.score, asked.score_unit),
    ]
    points: list[SamplePoint] = []
    if asked.metric:
        charts.append(quartile_chart(shown, asked.score, asked.metric, asked.metric_unit))
        points, chart = _scatter(store, asked, focus)
        charts.append(chart)
    order = choice(request, "order", ORDERS)
    ordered = sorted(points, key=_KEYS[order])
    pages = paging(request, f"{asked.unit}s", len(ordered), ROWS_PER_PAGE, POINTS_PAGE)
    context = {
        "title": "Correspondence",
        "run": asked.run,
        "asked": asked,
        "focus": Focus(asked.cell.cell_id, asked.against.cell_id, asked.seed),
        "path": PATH,
        "units": UNITS,
        "orders": ORDERS,
        "order": order,
        "points": [(point, _link(asked, point)) for point in ordered[pages.first : pages.last]],
        "points_paging": pages,
        "points_page": POINTS_PAGE,
        "scenes_link": url(SCENES.path, **_words(asked)),
        "trends": [(cell, each) for cell in shown if (each := quartiles(cell)) is not None],
        "quartile_names": QUARTILES,
    }
    return respond(request, "correspondence.html", context, charts)


_KEYS: dict[str, Callable[[SamplePoint], tuple[float | str, ...]]] = {
    ORDERS[0]: lambda point: (point.score, point.sample_id),
    ORDERS[1]: lambda point: (-point.score, point.sample_id),
    ORDERS[2]: lambda point: (point.value, point.score, point.sample_id),
    ORDERS[3]: lambda point: (-point.value, point.score, point.sample_id),
}


def _with_focus(asked: Choices) -> list[CellChoice]:
    """The page of cells, the one looked at and the baseline, each once."""
    return list({cell.cell_id: cell for cell in (*asked.shown, asked.cell, asked.against)}.values())


def _scored(store: Store, asked: Choices, cells: Sequence[CellChoice]) -> list[Scored]:
    """Sums by scene, for these cells alone."""
    probes = _by_cell(store, asked, cells, PROBE, asked.score)
    values = _by_cell(store, asked, cells, SCORE, asked.metric)
    teachers = _by_cell(store, asked, cells, TEACHER_PROBE, asked.score)
    return [
        scored_cell(cell.cell_id, cell.title, own, other, next(iter(taught.values()), None))
        for cell, own, other, taught in zip(cells, probes, values, teachers, strict=True)
    ]


def _by_cell(
    store: Store, asked: Choices, cells: Sequence[CellChoice], role: str, metric: str
) -> list[dict[int, SceneSums]]:
    """Seed -> scene -> sum, for each cell; all cells in one question to the database."""
    keys = [asked.keys(cell, role) for cell in cells]
    wanted = [key for by_seed in keys for key in by_seed.values()]
    found = scene_sums(store.database, wanted, metric) if metric else {}
    return [{seed: found[k] for seed, k in by_seed.items() if k in found} for by_seed in keys]


def _scatter(store: Store, asked: Choices, focus: Scored) -> tuple[list[SamplePoint], Chart]:
    """Points of the cell looked at: its samples under one seed, or its scenes over all seeds."""
    points, number = _points(store, asked, focus)
    links = [_link(asked, point) for point in points]
    over = f"under seed {asked.seed}" if asked.unit == "sample" else "averaged over seeds"
    thinned = f", {len(points)} of them drawn, evenly taken" if len(points) < number else ""
    note = (
        f"{number} {asked.unit}s of {asked.cell.title} {over}{thinned}. Where few values occur, "
        "points are drawn a little apart. A click opens the scene; the table below links them, too."
    )
    title = f"{readable(asked.metric)}, against the {readable(asked.score)}, by {asked.unit}"
    names, units = (asked.score, asked.metric), (asked.score_unit, asked.metric_unit)
    return points, scatter_chart(title, points, links, names, units, note)


def _points(store: Store, asked: Choices, focus: Scored) -> tuple[list[SamplePoint], int]:
    if asked.unit == "scene":
        common = sorted(focus.scores.keys() & focus.values.keys())
        stride = max(1, -(-len(common) // MOST_POINTS))
        return [
            SamplePoint(scene, scene, focus.scores[scene], focus.values[scene])
            for scene in common[::stride]
        ], len(common)
    probe = asked.keys(asked.cell, PROBE).get(asked.seed)
    scored = asked.keys(asked.cell, SCORE).get(asked.seed)
    if probe is None or scored is None:
        return [], 0
    return sample_points(store.database, (probe, asked.score), (scored, asked.metric), MOST_POINTS)


def _link(asked: Choices, point: SamplePoint) -> str:
    """Where the viewer shows a point."""
    sample = point.sample_id if point.sample_id != point.scene_id else None
    return url(SCENES.path, **_words(asked), scene=point.scene_id, sample=sample)


def _words(asked: Choices) -> dict[str, str | int | None]:
    """Whose scenes the viewer shows."""
    return {
        "run": asked.run.run_id,
        "cell": asked.cell.cell_id,
        "seed": asked.seed,
        "against": asked.against.cell_id,
        "metric": asked.metric,
    }


PAGE = Page("Correspondence", PATH, show, words=one_cell)
