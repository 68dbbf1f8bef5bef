"""Training curves of a cell and its replicates, thinned by the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, or_, select

from threedrs_dashboards.charts import Chart
from threedrs_dashboards.tables import Table
from threedrs_platform.database.connection import Database
from threedrs_platform.database.measurements import CellResult
from threedrs_platform.database.schema import curves

MOST_POINTS = 400
"""Points of one line; more cannot be told apart on a screen."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


@dataclass(frozen=True)
class CurveName:
    """One curve that the steps of a cell have logged."""

    role: str
    name: str

    def __str__(self) -> str:
        return f"{self.role}/{self.name}"


@dataclass(frozen=True)
class Line:
    """One seed's points of a curve."""

    seed: int
    points: tuple[tuple[int, float | None], ...]


def curve_names(database: Database, steps: Sequence[tuple[str, str]]) -> list[CurveName]:
    """What steps have logged, in their order; of each the losses first.

    Args:
        steps: keys and roles.
    """
    roles = dict(steps)
    query = (
        select(curves.c.step_key, curves.c.name)
        .where(curves.c.step_key.in_(list(roles)))
        .distinct()
        .order_by(curves.c.name)
    )
    with database.read() as connection:
        found = connection.execute(query).all()
    order = {role: index for index, role in enumerate(roles.values())}
    names = [CurveName(roles[row.step_key], row.name) for row in found]
    return sorted(names, key=lambda each: (order[each.role], not each.name.startswith("loss")))


def lines(
    database: Database,
    replicates: Sequence[CellResult],
    curve: CurveName,
    most: int | None = MOST_POINTS,
) -> list[Line]:
    """A curve under every seed; every k-th logged step where there are more than `most`."""
    found = []
    for cell in replicates:
        key = next((step.key for step in cell.steps if step.role == curve.role), None)
        if key is not None:
            points = _points(database, key, curve.name, most)
            if points:
                found.append(Line(cell.seed, points))
    return found


def _points(
    database: Database, key: str, name: str, most: int | None
) -> tuple[tuple[int, float | None], ...]:
    mine = and_(curves.c.step_key == key, curves.c.name == name)
    numbered = (
        select(
            curves.c.step,
            curves.c.value,
            func.row_number().over(order_by=curves.c.step).label("nth"),
            func.count().over().label("total"),
        )
        .where(mine)
        .subquery()
    )
    query = select(numbered.c.step, numbered.c.value).order_by(numbered.c.step)
    if most is not None:
        stride = 1 + numbered.c.total // most
        query = query.where(
            or_((numbered.c.nth - 1) % stride == 0, numbered.c.nth == numbered.c.total)
        )
    with database.read() as connection:
        return tuple((row.step, row.value) for row in connection.execute(query))


def curve_chart(
    database: Database, replicates: Sequence[CellResult], curve: CurveName, index: int
) -> Chart:
    """One curve, a line per seed; its CSV has every point."""
    found = lines(database, replicates, curve)
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": f"seed {line.seed}",
            "x": [step for step, _ in line.points],
            "y": [value for _, value in line.points],
            "line": {"dash": DASHES[number % len(DASHES)], "width": 2},
        }
        for number, line in enumerate(found)
    ]
    ends = [line.points[-1][1] for line in found]
    told = ", ".join(f"{end:.4g}" for end in ends if end is not None)
    return Chart(
        name=f"curve{index}",
        title=str(curve),
        traces=traces,
        table=lambda: _table(database, replicates, curve),
        summary=f"Last values by seed: {told}." if told else "",
        layout={"xaxis": {"title": {"text": "step"}}, "showlegend": len(found) > 1},
        height=280,
    )


def _table(database: Database, replicates: Sequence[CellResult], curve: CurveName) -> Table:
    rows = [
        (line.seed, step, value)
        for line in lines(database, replicates, curve, most=None)
        for step, value in line.points
    ]
    return Table(("seed", "step", str(curve)), rows)
