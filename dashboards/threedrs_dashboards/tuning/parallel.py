"""Parallel coordinates: one vertical axis per setting, one line per trial.

Drawn with plain lines, in five groups from worst to best that differ in colour, width and dash:
Plotly's own trace for it needs WebGL and code generation, which the pages' policy forbids.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from threedrs_dashboards.charts import Chart
from threedrs_dashboards.tables import Table
from threedrs_dashboards.tuning.study import StudyView
from threedrs_platform.database.studies import TrialRow

MOST_LINES = 300
"""More cannot be told apart; the best ones are drawn, the CSV has all."""
GROUPS = (
    ("worst fifth", "#c9d3df", 1, "dot"),
    ("fourth", "#a5b8cc", 1, "solid"),
    ("middle", "#6f93b8", 1, "solid"),
    ("second", "#2f6db3", 2, "solid"),
    ("best fifth", "#c2571a", 3, "solid"),
)
"""Name, colour, width and dash of each group of trials."""


@dataclass(frozen=True)
class CoordinateAxis:
    """One setting, or the metric, stretched to 0 .. 1."""

    name: str
    places: Mapping[Any, float]
    """Value as text -> height; empty for a numeric axis."""
    low: float = 0.0
    high: float = 1.0
    is_log: bool = False

    def place(self, value: Any) -> float | None:
        """Height of a value; None where the trial has none."""
        if value is None:
            return None
        if self.places:
            return self.places[str(value)]
        low, high, at = self.low, self.high, float(value)
        if self.is_log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return (at - low) / (high - low) if high > low else 0.5

    @property
    def marks(self) -> list[tuple[float, str]]:
        """Heights with their labels."""
        if self.places:
            return [(height, text) for text, height in self.places.items()]
        return [(0.0, f"{self.low:.3g}"), (1.0, f"{self.high:.3g}")]


def coordinate_axis(name: str, values: Sequence[Any]) -> CoordinateAxis:
    """An axis over the values that occur; logarithmic where they span two orders."""
    present = [value for value in values if value is not None]
    numeric = all(isinstance(each, int | float) and not isinstance(each, bool) for each in present)
    if present and numeric:
        low, high = min(present), max(present)
        return CoordinateAxis(name, {}, low, high, is_log=low > 0 and high / low >= 100)
    texts = sorted({str(value) for value in present})
    steps = max(len(texts) - 1, 1)
    return CoordinateAxis(name, {text: index / steps for index, text in enumerate(texts)})


def parallel_chart(study: StudyView, metric: int) -> Chart:
    """Settings of all complete trials, coloured by one metric."""
    name = study.facts.metrics[metric]
    sign = -1 if study.is_higher_better(metric) else 1
    best_first = sorted(study.complete, key=lambda trial: sign * trial.values[metric])
    shown = best_first[:MOST_LINES]
    settings = list(study.facts.space) or sorted({key for t in shown for key in t.params})
    axes = [coordinate_axis(path, [t.params.get(path) for t in shown]) for path in settings]
    axes.append(coordinate_axis(name, [trial.values[metric] for trial in shown]))
    rows = [
        (trial.number, *(trial.params.get(path) for path in settings), trial.values[metric])
        for trial in best_first
    ]
    cut = f" The best {MOST_LINES} are drawn." if len(best_first) > MOST_LINES else ""
    return Chart(
        name="parallel",
        title=f"Settings of all complete trials, best by {name} in orange",
        traces=_traces(shown, axes, settings, metric),
        table=Table(("trial", *settings, name), rows),
        summary=f"One line per trial from setting to setting, the last axis is {name}.{cut}",
        layout={
            "xaxis": {
                "tickvals": list(range(len(axes))),
                "ticktext": [*(path.replace(".", ".<br>") for path in settings), name],
                "tickangle": 0,
                "automargin": True,
                "range": [-0.3, len(axes) - 0.7],
            },
            "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
            "margin": {"l": 64, "r": 16, "t": 70, "b": 56},
            "yaxis": {"visible": False, "range": [-0.08, 1.08]},
            "annotations": list(_annotations(axes)),
        },
        height=460,
    )


def _traces(
    best_first: Sequence[TrialRow],
    axes: Sequence[CoordinateAxis],
    settings: Sequence[str],
    metric: int,
) -> list[dict[str, Any]]:
    """One trace per group, its lines parted by gaps; the best group is drawn last, on top."""
    count = len(best_first)
    traces = []
    for group, (name, colour, width, dash) in enumerate(GROUPS):
        rank = len(GROUPS) - 1 - group
        mine = best_first[rank * count // len(GROUPS) : (rank + 1) * count // len(GROUPS)]
        xs: list[int | None] = []
        ys: list[float | None] = []
        texts: list[str] = []
        for trial in mine:
            values = [*(trial.params.get(path) for path in settings), trial.values[metric]]
            xs += [*range(len(axes)), None]
            ys += [*(axis.place(value) for axis, value in zip(axes, values, strict=True)), None]
            texts += [f"trial {trial.number}: {value}" for value in [*values, ""]]
        if mine:
            line = {"color": colour, "width": width, "dash": dash}
            traces.append(
                {"type": "scatter", "mode": "lines", "name": name, "x": xs, "y": ys,
                 "text": texts, "hoverinfo": "text", "line": line}
            )  # fmt: skip
    return traces


def _annotations(axes: Sequence[CoordinateAxis]) -> list[dict[str, Any]]:
    """Values beside each axis."""
    return [
        {"x": index, "y": height, "text": text, "showarrow": False, "xanchor": "left",
         "xshift": 4, "bgcolor": "rgba(255,255,255,0.8)", "font": {"size": 11}}
        for index, axis in enumerate(axes)
        for height, text in axis.marks
    ]  # fmt: skip
