"""The room in 3D: points, cameras, the chosen token, and boxes of truth, baseline and ours."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from threedrs_dashboards.charts import Chart
from threedrs_dashboards.tables import Table
from threedrs_dashboards.viewer.scene_data import PointCloud

MOST_POINTS = 30_000
POINT_OPACITY = 0.45
"""Boxes behind walls show through."""
TRUTH, BASELINE, OURS, OTHERS = "#2166d1", "#c81e2e", "#14833b", "#8d96a5"
"""As in the paper's figure 4: ground truth blue, baseline red, ours green."""
CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / 2
PATH = (0, 1, 3, 2, 0, 4, 5, 1, 5, 7, 3, 7, 6, 2, 6, 4)
"""Corners along one line that draws every edge of a box."""
TOKEN = "token"
BOX_HEADER = ("group", "label", "x_m", "y_m", "z_m", "size_x_m", "size_y_m", "size_z_m")

NamedBox = tuple[str, Sequence[float]]


def room_chart(
    cloud: PointCloud,
    groups: Mapping[str, Sequence[NamedBox]],
    colours: Mapping[str, str],
    cameras: Mapping[str, Sequence[float]],
    token: Sequence[float] | None,
    note: str,
) -> Chart:
    """One 3D plot.

    Args:
        cloud: what the frames saw.
        groups: name of a group -> its boxes with labels; each group can be switched off.
        colours: of the groups.
        cameras: label -> position, metres.
        token: where the chosen token lies, metres; None if nothing is known of its depth.
        note: what else to say below the plot.
    """
    traces = [
        _points(cloud),
        *(_boxes(name, boxes, colours[name]) for name, boxes in groups.items()),
        _markers("cameras", cameras, "#1c2430", "square", 5),
        _markers(
            TOKEN, {"chosen token": token} if token is not None else {}, "#e08a00", "diamond", 8
        ),
    ]
    return Chart(
        name="room",
        title="The scene in 3D",
        traces=traces,
        table=Table(BOX_HEADER, box_rows(groups)),
        summary=_summary(cloud, groups, note),
        layout=_LAYOUT,
        height=600,
    )


_AXIS = {"backgroundcolor": "#eef1f5", "gridcolor": "#ffffff", "showbackground": True}
_LAYOUT: Mapping[str, Any] = {
    "margin": {"l": 0, "r": 0, "t": 28, "b": 0},
    "scene": {
        "aspectmode": "data",
        "xaxis": {**_AXIS, "title": {"text": "x (m)"}},
        "yaxis": {**_AXIS, "title": {"text": "y (m)"}},
        "zaxis": {**_AXIS, "title": {"text": "z (m)"}},
        "camera": {
            "eye": {"x": 0.34, "y": -1.45, "z": 1.68},
            "center": {"x": 0, "y": 0, "z": -0.1},
        },
    },
    "legend": {"orientation": "h", "y": 0, "yanchor": "top", "x": 0, "itemsizing": "constant"},
    "uirevision": "room",
}


def box_rows(groups: Mapping[str, Sequence[NamedBox]]) -> list[tuple[object, ...]]:
    """One row per box."""
    return [(name, label, *box) for name, boxes in groups.items() for label, box in boxes]


def _points(cloud: PointCloud) -> dict[str, Any]:
    trace: dict[str, Any] = {
        "type": "scatter3d",
        "mode": "markers",
        "name": "points",
        "hoverinfo": "skip",
        "opacity": POINT_OPACITY,
        "marker": {"size": 2, "color": [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in cloud.colours]},
    }
    for axis, name in enumerate("xyz"):
        trace[name] = _packed(cloud.points[:, axis])
    return trace


def _packed(values: NDArray[np.float32]) -> dict[str, str]:
    """Plotly's own form of a typed array: a third of the digits."""
    content = np.ascontiguousarray(values, dtype="<f4").tobytes()
    return {"dtype": "f4", "bdata": base64.b64encode(content).decode("ascii")}


def _boxes(name: str, boxes: Sequence[NamedBox], colour: str) -> dict[str, Any]:
    x: list[float | None] = []
    y: list[float | None] = []
    z: list[float | None] = []
    texts: list[str] = []
    for label, box in boxes:
        corners = np.asarray(box[:3]) + CORNERS * np.asarray(box[3:])
        for corner in PATH:
            for values, value in zip((x, y, z), corners[corner], strict=True):
                values.append(round(float(value), 4))
            texts.append(label)
        for values in (x, y, z):
            values.append(None)  # lifts the pen
        texts.append("")
    return {
        "type": "scatter3d",
        "mode": "lines",
        "name": f"{name} ({len(boxes)})",
        "x": x,
        "y": y,
        "z": z,
        "text": texts,
        "hovertemplate": "%{text}<extra></extra>",
        "line": {"color": colour, "width": 2 if colour == OTHERS else 6},
    }


def _markers(
    name: str, places: Mapping[str, Sequence[float]], colour: str, symbol: str, size: int
) -> dict[str, Any]:
    x, y, z = ([float(place[axis]) for place in places.values()] for axis in range(3))
    return {
        "type": "scatter3d",
        "mode": "markers",
        "name": name,
        "x": x,
        "y": y,
        "z": z,
        "text": list(places),
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"size": size, "color": colour, "symbol": symbol},
    }


def _summary(cloud: PointCloud, groups: Mapping[str, Sequence[NamedBox]], note: str) -> str:
    counts = ", ".join(f"{len(boxes)} {name}" for name, boxes in groups.items() if boxes)
    return f"{len(cloud.points):,} points; boxes: {counts or 'none'}. {note}".strip()
