"""What the server answers about scenes: a list, one scene, its pictures, and its numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from threedrs_dashboards.charts import finite
from threedrs_dashboards.choices import first_of
from threedrs_dashboards.pages import respond
from threedrs_dashboards.paging import paging
from threedrs_dashboards.query import choice, number, text
from threedrs_dashboards.store import Store, store_of
from threedrs_dashboards.tables import Table
from threedrs_dashboards.templating import render
from threedrs_dashboards.viewer.answers import SCORES, Answer, answers, scored_metrics, truth_text
from threedrs_dashboards.viewer.cells import ViewedCell, view_cells
from threedrs_dashboards.viewer.listing import (
    ALL_SEEDS,
    ONE_SEED,
    ORDERS,
    UNORDERED,
    listed,
    paired_numbers,
    scene_table,
)
from threedrs_dashboards.viewer.maps import UInt8, principal_colours
from threedrs_dashboards.viewer.missing import Missing
from threedrs_dashboards.viewer.pictures import depth_colours, depth_range, png
from threedrs_dashboards.viewer.pictures import strip as strip_png
from threedrs_dashboards.viewer.room import BOX_HEADER, box_rows
from threedrs_dashboards.viewer.scene_data import open_prepared, scene_ids
from threedrs_dashboards.viewer.scene_view import answer_table, boxes_of, scene_room, token_place
from threedrs_dashboards.viewer.state import PATH, Chosen, choose
from threedrs_dashboards.viewer.subject import SOURCES, Subject, subject, subject_of
from threedrs_dashboards.viewer.views import Source, similarity_maps, token_table
from threedrs_platform.database.grid_choice import grid_choice

IMMUTABLE = {"Cache-Control": "private, max-age=3600"}
"""Pictures are made from artifacts, which never change."""
CELLS_PER_PAGE = 12
SCENES_PER_PAGE = 50
THUMBNAIL_PIXELS = 112
ROWS = ("colour", "depth", *SOURCES)


def show(request: Request) -> Response:
    """One scene if the URL names one, else the list of scenes."""
    store = store_of(request)
    chosen = choose(request, store)
    if not text(request, "scene"):
        return _list(request, store, chosen)
    return _scene(request, subject_of(request, store, chosen))


def _list(request: Request, store: Store, chosen: Chosen) -> Response:
    wanted = grid_choice(store.database, chosen.run.run_id).metrics
    units = _units(store, chosen)
    metrics = first_of(list(units), wanted)
    metric = choice(request, "metric", ["", *metrics], metrics[0] if metrics else "")
    order = choice(request, "order", ORDERS, ORDERS[0] if metric else UNORDERED)
    over = choice(request, "over", (ALL_SEEDS, ONE_SEED))
    ours, theirs = paired_numbers(
        store.database,
        _replicates(store, chosen, chosen.cell, over),
        _replicates(store, chosen, chosen.against, over),
        metric,
    )
    ids = scene_ids(chosen.cell, store.artifacts)
    scenes = listed(ids, ours, theirs, order, text(request, "find"))
    pages = paging(request, "scenes", len(scenes), SCENES_PER_PAGE)
    context = {
        "title": "Scenes",
        "run": chosen.run,
        "chosen": chosen,
        "focus": chosen.focus,
        "orders": ORDERS,
        "order": order,
        "metrics": metrics,
        "metric": metric,
        "unit": units.get(metric, ""),
        "over": over,
        "ours": ours,
        "theirs": theirs,
        "digits": 1 if max(ours.metric.values(), default=0.0) > 1.0 else 3,
        "find": text(request, "find"),
        "paging": pages,
        "scenes": scenes[pages.first : pages.last],
        "path": PATH,
    }
    tables = {"scenes": lambda: scene_table(scenes, metric)}
    return respond(request, "scenes.html", context, tables=tables)


def _units(store: Store, chosen: Chosen) -> dict[str, str]:
    """Metrics of which the cell has a score per question -> their units."""
    scoring = [chosen.cell.keys[SCORES]] if SCORES in chosen.cell.keys else []
    return scored_metrics(store.database, scoring)


def _replicates(store: Store, chosen: Chosen, cell: ViewedCell, over: str) -> list[ViewedCell]:
    """A cell under all of its seeds, or under the one that is looked at."""
    if over == ONE_SEED:
        return [cell]
    seeds = next(each.seeds for each in chosen.known if each.cell_id == cell.cell_id)
    return view_cells(store.database, cell.run_id, [(cell.cell_id, seed) for seed in seeds])


def _scene(request: Request, seen: Subject) -> Response:
    cells = paging(request, "cells", len(seen.chosen.known), CELLS_PER_PAGE)
    given = _answers(seen, cells.first, cells.last)
    sources = seen.sources()
    frames = seen.scene.prepared.frame_names
    tables = {
        "answers": lambda: answer_table(given),
        "tokens": lambda: token_table(sources, seen.places, seen.state.token, frames),
    }
    context = {
        "title": f"Scene {seen.state.scene_id}",
        "run": seen.chosen.run,
        "chosen": seen.chosen,
        "focus": seen.chosen.focus,
        **_views(seen, sources),
        "answers": given,
        "answer_metrics": _answer_metrics(given, seen.state.metric),
        "units": _units(seen.store, seen.chosen),
        "truth": truth_text(seen.sample) if seen.sample else "",
        "rows": _picture_rows(seen, sources),
        "paging": cells,
        "depth_range": _depth_range(seen),
        "path": PATH,
        **_neighbours(seen),
    }
    return respond(request, "scene.html", context, [scene_room(seen, given)], tables)


def _answer_metrics(given: Sequence[Answer], first: str) -> list[str]:
    """Metrics of a question, the one that the reader came with first."""
    return sorted({name for each in given for name in each.scores}, key=lambda x: (x != first, x))


@dataclass(frozen=True)
class PictureRow:
    """One row of the table of frames."""

    title: str
    href: str
    why_none: str = ""
    is_coarse: bool = False
    """One pixel per token."""


def _picture_rows(seen: Subject, sources: Sequence[Source]) -> list[PictureRow]:
    def link(row: str) -> str:
        return seen.links.picture("/scenes/strip.png", row=row, layer=seen.state.layer)

    return [
        PictureRow("colour", link("colour")),
        PictureRow("depth", link("depth"), seen.scene.why_no_frames),
        *(PictureRow(each.title, link(each.name), each.why_none, True) for each in sources),
    ]


FRESH: dict[str, None] = dict.fromkeys(("sample", "a", "b", "token"))
"""Words of a state that belong to one scene."""


def _neighbours(seen: Subject) -> dict[str, Any]:
    ids = scene_ids(seen.chosen.cell, seen.store.artifacts)
    at = ids.index(seen.state.scene_id)
    return {
        "before": ids[at - 1] if at else "",
        "after": ids[at + 1] if at + 1 < len(ids) else "",
        "fresh": FRESH,
    }


def views(request: Request) -> Response:
    """The two views alone: what changes when another token is chosen."""
    seen = subject(request)
    return render(request, "scene_views.html", _views(seen, seen.sources()))


def _views(seen: Subject, sources: Sequence[Source]) -> dict[str, Any]:
    return {
        "seen": seen,
        "links": seen.links,
        "maps": similarity_maps(sources, seen.places, seen.state.token, seen.state.other),
        "place": token_place(seen),
    }


def strip(request: Request) -> Response:
    """All frames side by side: colour, depth, or the features of a model as colours."""
    row = choice(request, "row", ROWS)
    return Response(
        strip_png(_row(subject(request), row)), media_type="image/png", headers=IMMUTABLE
    )


def _row(seen: Subject, row: str) -> UInt8:
    if row == "colour":
        return seen.scene.prepared.images.numpy()
    if row == "depth":
        if seen.depth is None:
            raise Missing(f"no depth: {seen.scene.why_no_frames}")
        return depth_colours(seen.depth)
    source = seen.source(row)
    if source.features is None:
        raise Missing(source.why_none)
    return principal_colours(source.features)


def frame(request: Request) -> Response:
    """One frame as the student sees it."""
    images = subject(request).scene.prepared.images
    index = number(request, "frame", 0, 0, len(images) - 1)
    return Response(png(images[index].numpy()), media_type="image/png", headers=IMMUTABLE)


def thumbnail(request: Request) -> Response:
    """The middle frame of a scene, small."""
    chosen = choose(request, store_of(request))
    scene = open_prepared(chosen.cell, text(request, "scene"), store_of(request).artifacts)
    images = scene.images.numpy()
    middle = images[len(images) // 2 :][:1]
    return Response(strip_png(middle, THUMBNAIL_PIXELS), media_type="image/png", headers=IMMUTABLE)


def data(request: Request) -> Response:
    """The whole view as JSON."""
    seen = subject(request)
    cells = paging(request, "cells", len(seen.chosen.known), CELLS_PER_PAGE)
    given = _answers(seen, cells.first, cells.last)
    maps = similarity_maps(seen.sources(), seen.places, seen.state.token, seen.state.other)
    value = {
        "state": {**seen.chosen.words(), **seen.state.words()},
        "frames": list(seen.scene.prepared.frame_names),
        "boxes": _records(Table(BOX_HEADER, box_rows(boxes_of(seen, given)))),
        "answers": _records(answer_table(given)),
        "second_view": {
            each.source.name: {
                "model": each.source.title,
                "why_missing": each.source.why_none,
                "tokens": [
                    {"row": token.row, "column": token.column, "cosine": token.cosine,
                     "shared_point_pairs": token.shared}
                    for token in each.tokens
                ],
            }
            for each in maps
        },
    }  # fmt: skip
    return JSONResponse(finite(value))


def _records(table: Table) -> list[dict[str, Any]]:
    return [dict(zip(table.header, row, strict=True)) for row in table.rows]


def _answers(seen: Subject, first: int, last: int) -> list[Answer]:
    """Ours, the baseline, then a page of the other cells under the same seed."""
    if seen.sample is None:
        return []
    ours, against, store = seen.chosen.cell, seen.chosen.against, seen.store
    others = [
        (cell.cell_id, ours.seed if ours.seed in cell.seeds else cell.seeds[0])
        for cell in seen.chosen.known[first:last]
        if cell.cell_id not in (ours.cell_id, against.cell_id)
    ]
    both = [ours] if ours == against else [ours, against]
    cells = [*both, *view_cells(store.database, seen.chosen.run.run_id, others)]
    return answers(cells, seen.sample, store.database, store.artifacts)


def _depth_range(seen: Subject) -> tuple[float, float] | None:
    return None if seen.depth is None else depth_range(seen.depth)
