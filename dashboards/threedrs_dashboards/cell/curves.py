"""Training curves of a cell and its replicates, up to now, thinned by the database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import and_, func, or_, select

from threedrs_dashboards.charts import Chart
from threedrs_dashboards.store import Store
from threedrs_dashboards.tables import Table
from threedrs_platform.compute.recorder import CurvePoint
from threedrs_platform.database.connection import Database
from threedrs_platform.database.live_curves import live_curves
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
    is_live: bool = False
    """Of a step that has not committed: there may be more to come."""


@dataclass(frozen=True)
class Curves:
    """Curves of committed steps, from the database, and of others, from beside their logs."""

    database: Database
    live: Mapping[str, Sequence[CurvePoint]] = field(default_factory=dict)
    """By the key of a step that has not committed."""

    def names(self, steps: Sequence[tuple[str, str]]) -> list[CurveName]:
        """What steps have logged, in their order; of each the losses first.

        Args:
            steps: keys and roles; of replicates, too.
        """
        roles = dict(steps)
        query = (
            select(curves.c.step_key, curves.c.name)
            .where(curves.c.step_key.in_(list(roles)))
            .distinct()
            .order_by(curves.c.name)
        )
        with self.database.read() as connection:
            found = [(row.step_key, row.name) for row in connection.execute(query)]
        found += [(key, point.name) for key in roles for point in self.live.get(key, ())]
        order = {role: index for index, role in enumerate(roles.values())}
        names = dict.fromkeys(CurveName(roles[key], name) for key, name in found)
        return sorted(names, key=lambda each: (order[each.role], not each.name.startswith("loss")))

    def lines(
        self,
        replicates: Sequence[CellResult],
        curve: CurveName,
        most: int | None = MOST_POINTS,
    ) -> list[Line]:
        """A curve under every seed; every k-th logged step where there are more than `most`."""
        found = []
        for cell in replicates:
            key = next((step.key for step in cell.steps if step.role == curve.role), None)
            if key is not None:
                points = self._points(key, curve.name, most)
                if points:
                    found.append(Line(cell.seed, points, key in self.live))
        return found

    def steps(self, step_keys: Sequence[str]) -> list[int]:
        """Training steps at which any of some steps of runs has logged, ascending."""
        stored = [key for key in step_keys if key not in self.live]
        query = select(curves.c.step).where(curves.c.step_key.in_(stored)).distinct()
        with self.database.read() as connection:
            found = set(connection.scalars(query))
        found |= {each.step for key in step_keys for each in self.live.get(key, ())}
        return sorted(found)

    def reached(
        self, step_keys: Sequence[str], step: int
    ) -> dict[tuple[str, str], tuple[int, float | None]]:
        """The last point of every curve that is not after a training step.

        Returns: (step key, curve) -> training step and value.
        """
        stored = [key for key in step_keys if key not in self.live]
        last = (
            select(curves.c.step_key, curves.c.name, func.max(curves.c.step).label("step"))
            .where(curves.c.step_key.in_(stored), curves.c.step <= step)
            .group_by(curves.c.step_key, curves.c.name)
            .subquery()
        )
        same = and_(*(curves.c[name] == last.c[name] for name in ("step_key", "name", "step")))
        query = select(curves).join(last, same)
        with self.database.read() as connection:
            rows = connection.execute(query).all()
        found = {(row.step_key, row.name): (row.step, row.value) for row in rows}
        for key in step_keys:
            for each in self.live.get(key, ()):  # ascending: a later point replaces an earlier one
                if each.step <= step:
                    found[key, each.name] = (each.step, each.value)
        return found

    def _points(
        self, key: str, name: str, most: int | None
    ) -> tuple[tuple[int, float | None], ...]:
        if key not in self.live:
            return _committed(self.database, key, name, most)
        mine = [(each.step, each.value) for each in self.live[key] if each.name == name]
        stride = 1 if most is None else 1 + len(mine) // most
        last = len(mine) - 1
        return tuple(point for nth, point in enumerate(mine) if nth % stride == 0 or nth == last)


def open_curves(store: Store, cells: Iterable[CellResult]) -> Curves:
    """The curves of some cells, up to now."""
    keys = {step.key for cell in cells for step in cell.steps}
    return Curves(store.database, live_curves(store.database, keys, store.workspace.root))


def _committed(
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
    source: Curves, replicates: Sequence[CellResult], curve: CurveName, index: int
) -> Chart:
    """One curve, a line per seed; its CSV has every point."""
    found = source.lines(replicates, curve)
    traces: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": f"seed {line.seed}{', so far' if line.is_live else ''}",
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
        table=lambda: _table(source, replicates, curve),
        summary=f"Last values by seed: {told}." if told else "",
        layout={
            "xaxis": {"title": {"text": "training step"}},
            "yaxis": {"title": {"text": curve.name}},
            "showlegend": len(found) > 1,
        },
        height=280,
        names=[curve.name],
    )


def _table(source: Curves, replicates: Sequence[CellResult], curve: CurveName) -> Table:
    rows = [
        (line.seed, step, value)
        for line in source.lines(replicates, curve, most=None)
        for step, value in line.points
    ]
    return Table(("seed", "step", str(curve)), rows)
