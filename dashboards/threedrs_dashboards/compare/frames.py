"""Frames of a scene with true and chosen boxes drawn into them, as lines of an SVG picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from threedrs_components.scenes.frames import resize_images
from threedrs_components.scenes.picture import box_edges, frames_showing
from threedrs_dashboards import query
from threedrs_dashboards.store import store_of
from threedrs_dashboards.viewer.cells import view_cells
from threedrs_dashboards.viewer.missing import Missing
from threedrs_dashboards.viewer.pictures import png
from threedrs_dashboards.viewer.scene_data import open_scene
from threedrs_platform.records import Scene

MOST_FRAMES = 6
PER_BOX = 2
"""Frames that are looked for around each box."""
LONGEST_SIDE = 640
"""Pixels of the pictures that are sent."""


@dataclass(frozen=True)
class ColouredBox:
    """One box, whose it is, and its colour."""

    title: str
    colour: str
    box: Sequence[float]
    """[6] centre and size, metres."""
    is_true: bool = False


@dataclass(frozen=True)
class DrawnBox:
    """One box as it lies in one frame."""

    title: str
    colour: str
    is_true: bool
    path: str
    """Of an SVG path, pixels of the frame."""
    above: int = 0
    """How many boxes lie exactly on it: it is drawn wider by so much, and stays in sight."""


@dataclass(frozen=True)
class DrawnFrame:
    """One frame and what is drawn into it."""

    index: int
    height: int
    width: int
    boxes: Sequence[DrawnBox]

    @property
    def words(self) -> str:
        """What is drawn, without the drawing."""
        return ", ".join(dict.fromkeys(box.title for box in self.boxes)) or "no box in view"


def drawn_frames(scene: Scene, boxes: Sequence[ColouredBox]) -> list[DrawnFrame]:
    """Frames that show most of the boxes, in their own order; none where there is no box."""
    every = len(scene.frame_names)
    below_first = sorted(boxes, key=lambda box: not box.is_true)
    reached = [(each, frames_showing(scene, each.box, every)) for each in below_first]
    best_first = (at[rank] for rank in range(PER_BOX) for _, at in reached if rank < len(at))
    chosen = list(dict.fromkeys(best_first))[:MOST_FRAMES]
    height, width = scene.images.shape[1:3]
    return [
        DrawnFrame(
            index,
            height,
            width,
            _drawn(scene, index, [each for each, at in reached if index in at]),
        )
        for index in sorted(chosen)
    ]


def _drawn(scene: Scene, frame: int, boxes: Sequence[ColouredBox]) -> list[DrawnBox]:
    paths = [_path(box_edges(scene, frame, each.box)) for each in boxes]
    return [
        DrawnBox(each.title, each.colour, each.is_true, path, paths[number + 1 :].count(path))
        for number, (each, path) in enumerate(zip(boxes, paths, strict=True))
    ]


def _path(lines: Sequence[Sequence[tuple[float, float]]]) -> str:
    return "".join(
        f"M{first[0]:.1f} {first[1]:.1f}L{last[0]:.1f} {last[1]:.1f}" for first, last in lines
    )


def frame(request: Request) -> Response:
    """One frame of `?scene=` as it was taken, for the lines to be drawn over.

    Raises:
        Missing: its folder no longer holds the frames.
    """
    store = store_of(request)
    run = store.run(query.text(request, "run"))
    wanted = (query.text(request, "cell"), query.number(request, "seed", 0, low=-(10**9)))
    (cell,) = view_cells(store.database, run.run_id, [wanted])
    scene = open_scene(cell, query.text(request, "scene"), store.artifacts)
    if scene.frames is None:
        raise Missing(f"no frames: {scene.why_no_frames}")
    index = query.number(request, "frame", 0, 0, len(scene.frames.images) - 1)
    headers = {"Cache-Control": "private, max-age=3600"}
    return Response(frame_png(scene.frames, index), media_type="image/png", headers=headers)


def frame_png(scene: Scene, index: int, most: int = LONGEST_SIDE) -> bytes:
    """One frame as it was taken.

    Args:
        scene: whose.
        index: of the frame.
        most: pixels of its longer side.
    """
    height, width = scene.images.shape[1:3]
    scale = min(1.0, most / max(height, width))
    (shown,) = resize_images(scene.images[[index]], round(height * scale), round(width * scale))
    return png(np.asarray(shown))
