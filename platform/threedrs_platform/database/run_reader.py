"""Submissions as the database knows them: runs, their cells, and which cell needs which step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, func, select

from threedrs_platform.database import schema
from threedrs_platform.database.claims import CellKey
from threedrs_platform.database.connection import Database, now
from threedrs_platform.database.kept_json import kept_object
from threedrs_platform.database.owners import is_at_work, is_dead
from threedrs_platform.database.results import find_run_id
from threedrs_platform.database.step_rows import load_specs
from threedrs_platform.database.turns import whole_turn
from threedrs_platform.states import FailureClass, RunState, StepState
from threedrs_platform.steps import JSON, Cell

_runs, _cells, _links, _steps = schema.runs, schema.cells, schema.cell_steps, schema.steps
OPTIONS = "options of a run"
_RUNS = select(_runs, func.coalesce(_runs.c.lease_until < now(), True).label("expired"))


@dataclass(frozen=True)
class RunRow:
    """One submission as the database knows it."""

    id: str
    name: str
    state: RunState
    grid_file: str
    grid_yaml: str
    options: Mapping[str, JSON]
    created_at: float
    finished_at: float | None
    owner: str | None
    lease_expired: bool
    cancel_requested: bool

    @property
    def has_live_owner(self) -> bool:
        """Whether a supervisor works on the run, as far as anyone can tell."""
        if self.owner is None or is_dead(self.owner):
            return False
        return not self.lease_expired or is_at_work(self.owner)


class RunReader:
    """Reads the submissions of one database and changes none."""

    def __init__(self, database: Database) -> None:
        self.database = database

    @whole_turn
    def get(self, run_id: str) -> RunRow:
        """One run, by whatever `find_run_id` understands.

        Raises:
            ConfigError: there is no such run, or several.
        """
        query = _RUNS.where(_runs.c.id == bindparam("run"))
        with self.database.read() as connection:
            row = connection.execute(query, {"run": run_id}).one_or_none()
            if row is None:
                row = connection.execute(query, {"run": find_run_id(self.database, run_id)}).one()
        return _run(row)

    @whole_turn
    def find(self, run_id: str) -> RunRow | None:
        """The run of this very id, None if the database does not have it."""
        with self.database.read() as connection:
            row = connection.execute(_RUNS.where(_runs.c.id == run_id)).one_or_none()
        return None if row is None else _run(row)

    @whole_turn
    def named(self, name: str) -> list[RunRow]:
        """All runs of one name, oldest first."""
        query = _RUNS.where(_runs.c.name == name).order_by(_runs.c.created_at)
        with self.database.read() as connection:
            return [_run(row) for row in connection.execute(query)]

    @whole_turn
    def recent(self, limit: int = 20) -> list[RunRow]:
        """The newest runs, newest first."""
        query = _RUNS.order_by(_runs.c.created_at.desc()).limit(limit)
        with self.database.read() as connection:
            return [_run(row) for row in connection.execute(query)]

    @whole_turn
    def params_of(self, run_id: str, role: str) -> list[Mapping[str, JSON]]:
        """Parameters of the steps of one role in the cells of a run, each step once."""
        asked = select(schema.steps.c.spec_json).where(
            schema.steps.c.key.in_(
                select(_links.c.step_key).where(_links.c.run_id == run_id, _links.c.role == role)
            )
        )
        with self.database.read() as connection:
            specs = connection.execute(asked.order_by(schema.steps.c.key)).scalars()
            return [kept_object(spec, "a step").get("params", {}) for spec in specs]

    @whole_turn
    def cells(self, run_id: str) -> list[Cell]:
        """The cells of a run in the order of its grid, with their steps rebuilt."""
        cells = select(_cells).where(_cells.c.run_id == run_id).order_by(_cells.c.position)
        links = select(_links).where(_links.c.run_id == run_id)
        with self.database.read() as connection:
            rows = connection.execute(cells).all()
            roles: dict[CellKey, dict[str, str]] = {}
            for link in connection.execute(links):
                roles.setdefault(CellKey(link.cell_id, link.seed), {})[link.role] = link.step_key
            specs = load_specs(
                connection, {key for found in roles.values() for key in found.values()}
            )
        return [
            Cell(
                row.cell_id,
                row.name,
                row.seed,
                kept_object(row.params_json, "a cell"),
                {
                    role: specs[key]
                    for role, key in roles.get(CellKey(row.cell_id, row.seed), {}).items()
                },
                row.label,
            )
            for row in rows
        ]

    @whole_turn
    def step_keys(self, run_id: str) -> set[str]:
        """Keys of all steps that a run's cells need."""
        query = select(_links.c.step_key).where(_links.c.run_id == run_id).distinct()
        with self.database.read() as connection:
            return set(connection.scalars(query))

    @whole_turn
    def failures(self, run_id: str) -> dict[CellKey, set[FailureClass]]:
        """Why steps of a run's cells failed; cells without a failed step are not among them."""
        query = (
            select(_links.c.cell_id, _links.c.seed, _steps.c.failure)
            .join(_steps, _steps.c.key == _links.c.step_key)
            .where(_links.c.run_id == run_id, _steps.c.state == "failed")
        )
        found: dict[CellKey, set[FailureClass]] = {}
        with self.database.read() as connection:
            for cell_id, seed, failure in connection.execute(query):
                known = found.setdefault(CellKey(cell_id, seed), set())
                known.add(FailureClass(failure or FailureClass.BUG))
        return found

    @whole_turn
    def cell_states(self, run_id: str) -> dict[CellKey, StepState]:
        """State of every cell of a run."""
        wanted = (_cells.c.cell_id, _cells.c.seed, _cells.c.state)
        query = select(*wanted).where(_cells.c.run_id == run_id).order_by(_cells.c.position)
        with self.database.read() as connection:
            return {
                CellKey(row.cell_id, row.seed): StepState(row.state)
                for row in connection.execute(query)
            }

    @whole_turn
    def cancelled(self, run_id: str) -> tuple[bool, set[CellKey]]:
        """Whether the run is to be cancelled, and which of its cells are."""
        with self.database.read() as connection:
            whole = connection.scalar(select(_runs.c.cancel_requested).where(_runs.c.id == run_id))
            mine = and_(_cells.c.run_id == run_id, _cells.c.cancel_requested)
            rows = connection.execute(select(_cells.c.cell_id, _cells.c.seed).where(mine)).all()
        return bool(whole), {CellKey(row.cell_id, row.seed) for row in rows}

    @whole_turn
    def wanted_elsewhere(self, run_id: str) -> set[str]:
        """Keys of steps that live cells of other running runs need."""
        query = (
            select(_links.c.step_key)
            .join(_runs, _runs.c.id == _links.c.run_id)
            .join(
                _cells,
                and_(
                    _cells.c.run_id == _links.c.run_id,
                    _cells.c.cell_id == _links.c.cell_id,
                    _cells.c.seed == _links.c.seed,
                ),
            )
            .where(_runs.c.id != run_id, _runs.c.state == "running", _cells.c.state == "pending")
            .distinct()
        )
        with self.database.read() as connection:
            return set(connection.scalars(query))


def _run(row: Any) -> RunRow:
    return RunRow(
        id=row.id,
        name=row.name,
        state=RunState(row.state),
        grid_file=row.grid_file,
        grid_yaml=row.grid_yaml,
        options=kept_object(row.options_json, OPTIONS),
        created_at=row.created_at,
        finished_at=row.finished_at,
        owner=row.owner,
        lease_expired=bool(row.expired),
        cancel_requested=bool(row.cancel_requested),
    )
