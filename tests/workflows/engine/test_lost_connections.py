"""A database that is lost at any statement of a run: the result is that of an undisturbed one."""

import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, func, select, text

from threedrs_platform.database import schema
from threedrs_platform.database.connection import Database
from threedrs_platform.database.events import read_events
from threedrs_platform.states import RunState
from threedrs_platform.steps import Cell
from threedrs_platform.testing.databases import database_kinds, fresh_database
from threedrs_platform.testing.fake_cells import fake_cell, fake_step
from threedrs_platform.workspace import Workspace
from threedrs_workflows.testing.engine_bench import Engine

FAULTS = {
    "sqlite": ("database is locked", "disk I/O error"),
    "postgresql": ("connection", "answer"),
}
STRIDE = int(os.environ.get("THREEDRS_BREAK_EVERY", "43"))
"""Every how manieth statement is broken; breaking all of them takes many minutes."""


def grid() -> list[Cell]:
    """A shared step, results, a step that fails once, and one that fails for good."""
    root = fake_step("noop", kind="root")
    good = [
        {"root": root, "end": fake_step("measure", {"value": value}, r=root)} for value in (1, 2)
    ]
    again = {"root": root, "again": fake_step("resumable", r=root)}
    bad = fake_step("fail", r=root)
    return [
        *(fake_cell(f"good-{index}", steps) for index, steps in enumerate(good)),
        fake_cell("again", again),
        fake_cell("bad", {"root": root, "bad": bad, "after": fake_step("noop", b=bad)}),
    ]


class Fault:
    """Breaks the statement of this thread with number `at`, commits counted, too, and maybe more.

    Args:
        every: after each broken statement, how many until the next; 0 for none. More than a turn
            has, or it would never end.
    """

    def __init__(self, database: Database, kind: str, at: int, every: int = 0) -> None:
        self._database, self._kind, self.at, self._every = database, kind, at, every
        self.broken = 0
        self._thread, self.seen = threading.get_ident(), 0
        dialect: Any = database.engine.dialect
        for name in ("do_execute", "do_executemany"):
            setattr(dialect, name, self._breaking(getattr(dialect, name)))
        self._do_commit = dialect.do_commit
        dialect.do_commit = self._commit

    def _is_due(self) -> bool:
        if threading.get_ident() != self._thread:
            return False
        self.seen += 1
        is_due = self.seen == self.at
        if is_due:
            self.broken += 1
            self.at += self._every
        return is_due

    def _breaking(self, execute: Callable[..., Any]) -> Callable[..., Any]:
        def broken(cursor: Any, *rest: Any, **named: Any) -> Any:
            if self._kind != "answer" and self._is_due():
                self._break(cursor.connection)
            return execute(cursor, *rest, **named)

        return broken

    def _commit(self, connection: Any) -> None:
        if self._is_due():
            if self._kind == "answer":  # it happens, and nobody hears of it
                self._do_commit(connection)
            self._break(connection.dbapi_connection)
        self._do_commit(connection)

    def _break(self, connection: Any) -> None:
        if self._database.is_sqlite:
            raise sqlite3.OperationalError(self._kind)
        terminate(self._database, connection.info.backend_pid)
        connection.execute("SELECT 1")


def terminate(database: Database, pid: int) -> None:
    """End a server process of PostgreSQL, and wait for its end."""
    server = create_engine(database.engine.url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
    server.dispose()


def outcome(workspace: Workspace, run_id: str) -> dict[str, Any]:
    """All that must not depend on faults."""
    steps, attempts = schema.steps, schema.attempts
    with workspace.database.read() as connection:
        count = connection.execute(select(func.count()).select_from(schema.outbox)).scalar_one()
        found = {
            "steps": connection.execute(
                select(steps.c.kind, steps.c.state, steps.c.epoch, steps.c.output_digest)
            ).all(),
            "attempts": connection.execute(
                select(steps.c.kind, attempts.c.n, attempts.c.state).join(
                    steps, steps.c.key == attempts.c.step_key
                )
            ).all(),
            "metrics": connection.execute(select(schema.metrics.c.value)).all(),
            "curves": connection.execute(select(schema.curves.c.step, schema.curves.c.value)).all(),
        }
    events = read_events(workspace.database, run_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    sets = {name: sorted(map(str, rows)) for name, rows in found.items()}
    told = sorted(f"{event.type} {event.payload.get('cell', '')}" for event in events)
    return {**sets, "events": told, "messages": count}


def run_with(
    kind: str, fault: str, at: int, folder: Path, every: int = 0
) -> tuple[dict[str, Any], Fault]:
    """The outcome of a run with one fault or more, and what was broken."""
    with fresh_database(kind, folder) as url, Workspace(folder, url, "") as workspace:
        engine = Engine(workspace)
        plan = engine.look(grid())
        broken = Fault(workspace.database, fault, at, every)
        assert engine.submit_plan(plan) is RunState.PARTIAL
        broken.at = 0
        return outcome(workspace, engine.run_id), broken


@pytest.mark.parametrize(
    ("kind", "fault"), [(kind, fault) for kind in database_kinds() for fault in FAULTS[kind]]
)
def test_a_run_survives_a_fault_at_any_statement(
    kind: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RECONNECT_S", "FIRST_RETRY_S"):
        monkeypatch.setattr(f"threedrs_platform.database.connection.{name}", 0.0)
    expected, undisturbed = run_with(kind, fault, 0, tmp_path / "undisturbed")
    assert undisturbed.seen > 20
    for at in range(1, undisturbed.seen, STRIDE):
        found, _ = run_with(kind, fault, at, tmp_path / str(at))
        assert found == expected, f"statement {at} of {undisturbed.seen}"


@pytest.mark.parametrize("fault", FAULTS["sqlite"])
def test_a_hundred_faults_in_a_row_of_runs_change_nothing(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RECONNECT_S", "FIRST_RETRY_S"):
        monkeypatch.setattr(f"threedrs_platform.database.connection.{name}", 0.0)
    expected, _ = run_with("sqlite", fault, 0, tmp_path / "undisturbed")
    broken = 0
    for at in range(1, 200):
        found, faults = run_with("sqlite", fault, at, tmp_path / str(at), every=37)
        assert found == expected, f"statement {at} and every 37th after it"
        broken += faults.broken
        if broken >= 100:
            break
    assert broken >= 100
