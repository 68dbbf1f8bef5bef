"""The memory of submissions: runs, their cells, and which cell needs which step."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, insert, or_, select, update

from threedrs_platform.database import schema
from threedrs_platform.database.claims import CellKey
from threedrs_platform.database.connection import now
from threedrs_platform.database.events import Event, append_events, post
from threedrs_platform.database.journal_writes import finish_cells
from threedrs_platform.database.kept_json import kept_object
from threedrs_platform.database.owners import is_at_work, is_dead
from threedrs_platform.database.run_reader import OPTIONS, RunReader
from threedrs_platform.database.step_rows import StepEntry, spec_json, step_row
from threedrs_platform.database.turns import whole_turn
from threedrs_platform.errors import ConflictError
from threedrs_platform.identity.canonical import canonical_json
from threedrs_platform.identity.recipes import sha256_text
from threedrs_platform.states import RunState, StepState
from threedrs_platform.steps import JSON, Cell

_runs, _cells, _links, _steps = schema.runs, schema.cells, schema.cell_steps, schema.steps

_CELL_KEY = ("run_id", "cell_id", "seed")
_OPTIONS = select(_runs.c.options_json).where(_runs.c.id == bindparam("run"))
WORKERS = "workers|0||shared"
"""Owner of a run that several workers share: none of them needs to outlive the others."""
LEASE_S = 60.0
"""For how long an owner takes the lease of a run or step, and renews it."""


@dataclass(frozen=True)
class Submission:
    """A grid as it was submitted, with the options of the verb."""

    name: str
    grid_file: str
    grid_yaml: str
    options: Mapping[str, JSON]


class Runs(RunReader):
    """The submissions of one database, seen and changed."""

    @whole_turn
    def submit(
        self,
        submission: Submission,
        cells: Sequence[Cell],
        links: Mapping[CellKey, Mapping[str, str]],
        entries: Sequence[StepEntry],
    ) -> str:
        """Record a submission with its cells and steps, all or nothing; returns the run id."""
        with self.database.write() as connection:
            at = _time(connection)
            run_id = _new_run_id(submission.name, at)
            connection.execute(insert(_runs), _run_row(run_id, submission, at))
            self._write_steps(connection, run_id, entries, at)
            _insert(
                connection, _cells, [_cell_row(run_id, i, cell) for i, cell in enumerate(cells)]
            )
            self._write_links(connection, run_id, links)
            counts = {"cells": len(cells), "steps": len(entries)}
            counts["to_run"] = sum(entry.to_run for entry in entries)
            append_events(connection, run_id, [Event("run.submitted", None, counts)])
            post(connection, run_id, "run.submitted", counts)
        return run_id

    @whole_turn
    def replan(
        self,
        run_id: str,
        links: Mapping[CellKey, Mapping[str, str]],
        entries: Sequence[StepEntry],
    ) -> None:
        """Point a run's cells at the steps of a new plan, before it goes on."""
        with self.database.write() as connection:
            at = _time(connection)
            self._write_steps(connection, run_id, entries, at)
            connection.execute(_links.delete().where(_links.c.run_id == run_id))
            self._write_links(connection, run_id, links)
            reopened = and_(_cells.c.run_id == run_id, _cells.c.state != "cancelled")
            connection.execute(update(_cells).where(reopened).values(state="pending"))
            counts = {"steps": len(entries), "to_run": sum(entry.to_run for entry in entries)}
            append_events(connection, run_id, [Event("run.resumed", None, counts)])

    @whole_turn
    def extend(
        self,
        run_id: str,
        cells: Sequence[Cell],
        links: Mapping[CellKey, Mapping[str, str]],
        entries: Sequence[StepEntry],
    ) -> None:
        """Add cells to a run while it goes on; a cell that it has already is opened again."""
        known = [{"of_run_id": run_id, "of_cell_id": c.cell_id, "of_seed": c.seed} for c in cells]
        with self.database.write() as connection:
            at = _time(connection)
            self._write_steps(connection, run_id, entries, at)
            count = select(func.count()).select_from(_cells).where(_cells.c.run_id == run_id)
            first = int(connection.scalar(count) or 0)
            for table in (_links, _cells):
                same = and_(*(table.c[name] == bindparam(f"of_{name}") for name in _CELL_KEY))
                connection.execute(table.delete().where(same), known)
            _insert(
                connection, _cells, [_cell_row(run_id, first + i, c) for i, c in enumerate(cells)]
            )
            self._write_links(connection, run_id, links)
            append_events(connection, run_id, [Event("run.extended", None, {"cells": len(cells)})])

    @whole_turn
    def start(self, run_id: str, owner: str, lease_s: float) -> None:
        """Become the supervisor of a run.

        Raises:
            ConflictError: another live supervisor has it.
        """
        row = self.get(run_id)
        dead = row.owner if is_dead(row.owner) else ""
        # SQLite's clock is each client's own: one that is ahead must not take a run from its owner.
        alive = row.owner if is_at_work(row.owner) else ""
        expired = and_(_runs.c.lease_until < now(), _runs.c.owner != alive)
        free = or_(_runs.c.owner.is_(None), expired, _runs.c.owner == dead)
        take = (
            update(_runs)
            .where(_runs.c.id == run_id, or_(free, _runs.c.owner == owner))
            .values(owner=owner, lease_until=now() + lease_s, state="running", finished_at=None)
        )
        with self.database.write() as connection:
            if connection.execute(take).rowcount != 1:
                raise ConflictError(
                    f"run {run_id} is being worked on by {row.owner}; "
                    f"`workflows wait {run_id}` waits for it, `workflows cancel {run_id}` stops it"
                )
            append_events(connection, run_id, [Event("run.started", None, {"owner": owner})])

    @whole_turn
    def finish(self, run_id: str, owner: str, state: RunState, summary: Mapping[str, Any]) -> bool:
        """Write a run's outcome and give up its lease; of `WORKERS` only the first one does.

        Returns:
            Whether it was written.
        """
        mine = and_(_runs.c.id == run_id, or_(_runs.c.owner == owner, _runs.c.owner.is_(None)))
        if owner == WORKERS:
            shared = (_runs.c.owner == WORKERS, _runs.c.state == "running")
            mine = and_(_runs.c.id == run_id, *shared)
        with self.database.write() as connection:
            end = (
                update(_runs)
                .where(mine)
                .values(
                    state=state,
                    finished_at=now(),
                    owner=None,
                    lease_until=None,
                    cancel_requested=False,
                )
            )
            if connection.execute(end).rowcount != 1:
                return False
            payload = {"state": state, **summary}
            append_events(connection, run_id, [Event("run.finished", None, payload)])
            post(connection, run_id, "run.finished", payload)
        return True

    @whole_turn
    def join(self, run_id: str, lease_s: float) -> None:
        """Work on a run beside other workers, or tell that one still does.

        Raises:
            ConflictError: a supervisor has the run for itself.
        """
        row = self.get(run_id)
        others = row.owner if is_dead(row.owner) else WORKERS
        alive = row.owner if is_at_work(row.owner) else ""
        free = or_(
            _runs.c.owner.is_(None),
            and_(_runs.c.lease_until < now(), _runs.c.owner != alive),
            _runs.c.owner.in_([others, WORKERS]),
        )
        take = (
            update(_runs)
            .where(_runs.c.id == run_id, _runs.c.state == "running", free)
            .values(owner=WORKERS, lease_until=now() + lease_s)
        )
        with self.database.write() as connection:
            joined = connection.execute(take).rowcount == 1
        if not joined and self.get(run_id).state is RunState.RUNNING:
            raise ConflictError(
                f"run {run_id} is being worked on by {row.owner}, which shares it with no workers; "
                f"`workflows wait {run_id}` waits for it"
            )

    @whole_turn
    def reopen(self, run_id: str) -> None:
        """Make a run that has ended one that workers can join again.

        Raises:
            ConflictError: somebody works on it.
        """
        row = self.get(run_id)
        if row.has_live_owner:
            raise ConflictError(f"run {run_id} is being worked on by {row.owner}")
        again = update(_runs).where(_runs.c.id == run_id)
        with self.database.write() as connection:
            connection.execute(
                again.values(state="running", owner=None, lease_until=None, finished_at=None)
            )

    @whole_turn
    def pause(self, run_id: str, wanted: bool) -> None:
        """Ask whoever works on a run to start nothing more, or take that back."""
        if self.is_paused(run_id) != wanted:
            self.set_option(run_id, "pause", wanted)
            asked = Event("run.pause_requested" if wanted else "run.pause_taken_back")
            self.tell(run_id, [asked])

    @whole_turn
    def is_paused(self, run_id: str) -> bool:
        """Whether nothing more of a run is to start."""
        with self.database.read() as connection:
            told = connection.scalar(_OPTIONS, {"run": run_id})
        return '"pause": true' in (told or "") and bool(kept_object(told, OPTIONS).get("pause"))

    @whole_turn
    def set_option(self, run_id: str, name: str, value: JSON) -> None:
        """Change one of the options that a run was submitted with."""
        change = update(_runs).where(_runs.c.id == run_id)
        with self.database.write() as connection:
            options = kept_object(connection.scalar(_OPTIONS, {"run": run_id}), OPTIONS)
            options[name] = value
            connection.execute(change.values(options_json=json.dumps(options)))

    @whole_turn
    def finish_cells(
        self, run_id: str, finished: Sequence[CellKey], state: StepState, why: str = ""
    ) -> None:
        """Set the final state of cells."""
        if finished:
            with self.database.write() as connection:
                finish_cells(connection, run_id, finished, state, why)

    @whole_turn
    def tell(self, run_id: str, events: Sequence[Event]) -> None:
        """Add events to a run's stream."""
        with self.database.write() as connection:
            append_events(connection, run_id, events)

    @whole_turn
    def request_cancel(self, run_id: str, cells: Sequence[CellKey] | None = None) -> None:
        """Ask the supervisor to cancel a run, or some of its cells."""
        with self.database.write() as connection:
            if cells is None:
                mine = _runs.c.id == run_id
                connection.execute(update(_runs).where(mine).values(cancel_requested=True))
            for cell in cells or ():
                this = and_(
                    _cells.c.run_id == run_id,
                    _cells.c.cell_id == cell.cell_id,
                    _cells.c.seed == cell.seed,
                )
                connection.execute(update(_cells).where(this).values(cancel_requested=True))
            what = {"cells": None if cells is None else [asdict(cell) for cell in cells]}
            append_events(connection, run_id, [Event("run.cancel_requested", None, what)])

    def _write_steps(
        self, connection: Connection, run_id: str, entries: Sequence[StepEntry], at: float
    ) -> None:
        unknown = [entry for entry in entries if not entry.is_known]
        self.database.insert_new(connection, _steps, [step_row(entry, at) for entry in unknown])
        inputs = [
            {"step_key": entry.key, "name": name, "input_key": key}
            for entry in unknown
            for name, key in entry.recipe.inputs.items()
        ]
        self.database.insert_new(connection, schema.step_inputs, inputs)
        _reopen(connection, run_id, entries)

    def _write_links(
        self, connection: Connection, run_id: str, links: Mapping[CellKey, Mapping[str, str]]
    ) -> None:
        rows = [
            {"run_id": run_id, **vars(cell), "role": role, "step_key": key}
            for cell, roles in links.items()
            for role, key in roles.items()
        ]
        _insert(connection, _links, rows)


def _reopen(connection: Connection, run_id: str, entries: Sequence[StepEntry]) -> None:
    """Send steps that are to run (again) back to pending; those running elsewhere stay."""
    for invalid in (False, True):
        chosen = [entry for entry in entries if entry.to_run and entry.is_invalid is invalid]
        untouched = _steps.c.state != ("running" if invalid else "succeeded")
        change = (
            update(_steps)
            .where(_steps.c.key == bindparam("step"), _steps.c.state != "running", untouched)
            .values(state="pending", reason=bindparam("why"), spec_json=bindparam("spec"))
        )
        rows = [
            {"step": entry.key, "why": entry.reason, "spec": spec_json(entry.spec)}
            for entry in chosen
        ]
        if rows:
            connection.execute(change, rows)
        if invalid:
            told = [Event("step.invalidated", e.key, {"reason": e.reason}) for e in chosen]
            append_events(connection, run_id, told)


def _time(connection: Connection) -> float:
    return float(connection.scalar(select(now())) or 0)


def _new_run_id(name: str, at: float) -> str:
    return f"{name}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime(at))}-{uuid.uuid4().hex[:4]}"


def _run_row(run_id: str, submission: Submission, at: float) -> dict[str, Any]:
    return {
        "id": run_id,
        "name": submission.name,
        "state": RunState.RUNNING,
        "grid_file": submission.grid_file,
        "grid_yaml": submission.grid_yaml,
        "spec_digest": sha256_text(submission.grid_yaml + canonical_json(dict(submission.options))),
        "options_json": json.dumps(dict(submission.options)),
        "created_at": at,
        "cancel_requested": False,
        "last_seq": 0,
    }


def _cell_row(run_id: str, position: int, cell: Cell) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "cell_id": cell.cell_id,
        "seed": cell.seed,
        "position": position,
        "name": cell.name,
        "label": cell.label,
        "params_json": json.dumps(dict(cell.params)),
        "state": StepState.PENDING,
        "cancel_requested": False,
    }


def _insert(connection: Connection, table: Any, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), rows)
