"""A metric over cells: means with their spread over seeds, and chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from threedrs_components.report.notation import plain
from threedrs_components.report.table import Column, Entry
from threedrs_dashboards.charts import INK, Chart
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
            "error_x": {
                "type": "data",
                "color": INK,
                "array": [entry.sd or 0.0 for _, entry in shown],
            },
            "showlegend": False,
        }
    ]
    if column.chance is not None and shown:
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": "chance",
                "x": [column.chance, column.chance],
                "y": [titles[0], titles[-1]],
                "line": {"dash": "dash", "color": INK, "width": 1},
            }
        )
    best = max(shown, key=lambda pair: pair[1].mean or 0.0, default=None)
    said = f"Highest: {best[0]} with {plain(best[1].mean, column.unit)}." if best else "No value."
    table = [(title, entry.mean, entry.sd, len(entry.values)) for title, entry in shown]
    return Chart(
        name=name,
        title=f"{heading}: mean and sd over seeds",
        traces=traces,
        table=Table(("cell", "mean", "sd", "seeds"), table),
        summary=said,
        layout={
            "xaxis": {"title": {"text": heading}},
            "yaxis": {"automargin": True, "type": "category", "autorange": "reversed"},
        },
        height=150 + 24 * len(shown),
    )
