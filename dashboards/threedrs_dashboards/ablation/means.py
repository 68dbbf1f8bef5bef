"""A metric over cells: means with their spread over seeds, and chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from threedrs_components.report.notation import plain
from threedrs_components.report.table import Column, Entry
from threedrs_dashboards.charts import INK, Chart, whiskers
from threedrs_dashboards.tables import Table


def means_chart(
    name: str, heading: str, column: Column, rows: Sequence[tuple[str, Entry]]
) -> Chart:
    """A bar per cell, the first on top.

    Args:
        name: of the chart.
        heading: of the axis.
        column: the metric.
        rows: titles and numbers; those without a number are left out.
    """
    shown = [(title, entry) for title, entry in rows if entry.mean is not None]
    titles = [title for title, _ in shown]
    means = [entry.mean for _, entry in shown]
    traces: list[dict[str, Any]] = [
        {
            "type": "bar",
            "orientation": "h",
            "name": "mean",
            "y": titles,
            "x": means,
            "error_x": whiskers([entry.sd for _, entry in shown]),
            "showlegend": False,
        }
    ]
    line = [] if column.chance is None else [_chance(column.chance)]
    table = [(title, entry.mean, entry.sd, len(entry.values)) for title, entry in shown]
    return Chart(
        name=name,
        title=f"{heading}: mean and sd over seeds",
        traces=traces,
        table=Table(("cell", "mean", "sd", "seeds"), table),
        summary=_highest(shown, column.unit),
        layout={
            "xaxis": {"title": {"text": heading}},
            "yaxis": {"automargin": True, "type": "category", "autorange": "reversed"},
            "shapes": line,
            "showlegend": bool(line),
        },
        height=170 + 24 * len(shown),
        names=[column.name],
    )


def _chance(value: float) -> dict[str, Any]:
    """A line across all bars, with a line in the legend."""
    look = {"dash": "dash", "color": INK, "width": 2}
    return {"type": "line", "name": "chance", "showlegend": True, "line": look,
            "x0": value, "x1": value, "y0": 0, "y1": 1, "yref": "paper"}  # fmt: skip


def _highest(shown: Sequence[tuple[str, Entry]], unit: str) -> str:
    """Which cells are highest, in the digits that are shown."""
    values = [(title, plain(entry.mean, unit)) for title, entry in shown]
    if not values:
        return "No value."
    top = max(values, key=lambda pair: float(pair[1]))[1]
    titles = [title for title, value in values if value == top]
    return f"Highest: {' and '.join(titles)} with {top}{' ' * (unit != '%')}{unit}."
