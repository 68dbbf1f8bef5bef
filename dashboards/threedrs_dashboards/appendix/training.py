"""Training curves of several cells, each averaged over its seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence

from threedrs_components.objectives.registry import ObjectivesConfig
from threedrs_components.report.table import Row
from threedrs_dashboards.cell.curves import DASHES, CurveName, Curves
from threedrs_dashboards.charts import COLOURS, Chart
from threedrs_dashboards.tables import Table
from threedrs_platform.database.connection import Database

CURVES = (
    CurveName("finetune", "loss"),
    *(CurveName("finetune", each.loss_part) for each in ObjectivesConfig().objectives()),
)
Points = dict[int, float]


def training_charts(database: Database, rows: Sequence[Row]) -> Iterator[Chart]:
    """One chart per loss that at least one cell has logged."""
    for curve in CURVES:
        found = [(row.title, _mean(database, row, curve)) for row in rows]
        logged = [(title, points) for title, points in found if points]
        if logged:
            yield _chart(f"training-{curve.name.replace('/', '-')}", curve, logged)


def _mean(database: Database, row: Row, curve: CurveName) -> Points:
    """Step -> mean over the seeds that have it."""
    values: dict[int, list[float]] = {}
    for line in Curves(database).lines(row.replicates, curve):
        for step, value in line.points:
            if value is not None:
                values.setdefault(step, []).append(value)
    return {step: statistics.fmean(each) for step, each in sorted(values.items())}


def _chart(name: str, curve: CurveName, logged: Sequence[tuple[str, Points]]) -> Chart:
    traces = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": title,
            "x": list(points),
            "y": list(points.values()),
            "line": {
                "color": COLOURS[index % len(COLOURS)],
                "dash": DASHES[index % len(DASHES)],
                "width": 1.5,
            },
        }
        for index, (title, points) in enumerate(logged)
    ]
    rows = [(title, step, value) for title, points in logged for step, value in points.items()]
    return Chart(
        name=name,
        title=f"{curve} during training",
        traces=traces,
        table=Table(("cell", "step", "mean_over_seeds"), rows),
        summary="Means over seeds.",
        layout={"xaxis": {"title": {"text": "step"}}, "yaxis": {"title": {"text": str(curve)}}},
    )
