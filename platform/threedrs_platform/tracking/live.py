"""Cells that are still worked on, as child runs in MLflow with the curves so far.

They are a look ahead: once a cell has ended, delivery throws its look ahead away and writes it anew
from what was committed.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select

from threedrs_platform.compute.recorder import CurvePoint
from threedrs_platform.database.connection import Database
from threedrs_platform.database.live_curves import live_curves
from threedrs_platform.database.outbox import sole_deliverer
from threedrs_platform.database.results import Results
from threedrs_platform.database.schema import cell_steps, steps
from threedrs_platform.database.turns import whole_turn
from threedrs_platform.states import StepState
from threedrs_platform.tracking.delivery import RunWriter, Server
from threedrs_platform.tracking.evidence import Evidence
from threedrs_platform.tracking.places import Target


@dataclass(frozen=True)
class _Running:
    """A running step and the first of the cells that wait for it."""

    cell_id: str
    seed: int
    role: str
    step_key: str


@dataclass
class LiveCells:
    """The look ahead on one run."""

    database: Database
    folder: Path
    """Of the workspace; holds the lock and the live files."""
    target: Target
    run_id: str
    evidence: Evidence = field(default_factory=Evidence)
    _children: dict[str, str] = field(default_factory=dict)
    """Key of a running step -> the child run in MLflow."""
    _told: dict[str, int] = field(default_factory=dict)
    """Key of a running step -> the last training step whose values are there."""

    def look(self) -> None:
        """Write what running steps have logged since the last look. MLflow's failures are left to
        the delivery, which tells them."""
        running = self._running()
        points = live_curves(self.database, [each.step_key for each in running], self.folder)
        new = [(each, fresh) for each in running if (fresh := self._new(each, points))]
        if not new:
            return
        with contextlib.suppress(Exception), sole_deliverer(self.database, self.folder) as mine:
            if mine:
                self._write(new)

    def _running(self) -> list[_Running]:
        """One cell for each step: what cells share is shown once."""
        first: dict[str, _Running] = {}
        for each in _running_steps(self.database, self.run_id):
            first.setdefault(each.step_key, each)
        return list(first.values())

    def _new(self, each: _Running, points: dict[str, list[CurvePoint]]) -> list[CurvePoint]:
        told = self._told.get(each.step_key, -1)
        return [point for point in points.get(each.step_key, ()) if point.step > told]

    def _write(self, new: list[tuple[_Running, list[CurvePoint]]]) -> None:
        results = Results(self.database)
        server = Server(self.target)
        still = {each.step_key for each in self._running()}  # under the lock: none is delivered
        for each, points in new:
            if each.step_key not in still:
                continue
            cells = results.run_results(self.run_id, cell_ids={each.cell_id})
            writer = RunWriter(server, results, cells, self.evidence)
            if each.step_key not in self._children:
                (cell,) = (cell for cell in cells.cells if cell.seed == each.seed)
                self._children[each.step_key] = writer.cells.begin_live(cell)
            writer.cells.log_live(self._children[each.step_key], each.role, points)
            self._told[each.step_key] = points[-1].step

    def close(self) -> None:
        """The run is left: no child goes on. Those of cells that have ended are gone already, or
        are replaced by the delivery that follows."""
        for child in self._children.values():
            with contextlib.suppress(Exception):
                Server(self.target).client.set_terminated(child, "KILLED")


@whole_turn
def _running_steps(database: Database, run_id: str) -> list[_Running]:
    query = (
        select(cell_steps.c.cell_id, cell_steps.c.seed, cell_steps.c.role, steps.c.key)
        .join(steps, steps.c.key == cell_steps.c.step_key)
        .where(cell_steps.c.run_id == run_id, steps.c.state == StepState.RUNNING)
        .order_by(cell_steps.c.cell_id, cell_steps.c.seed)
    )
    with database.read() as connection:
        return [_Running(*row) for row in connection.execute(query)]
