"""A database whose statements fail on demand, by their numbers: no server has to be restarted."""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
from collections.abc import Callable
from typing import Any

from threedrs_platform.database.connection import Database

STATEMENT_FAULTS = {
    "sqlite": ("database is locked", "disk I/O error"),
    "postgresql": ("connection", "answer"),
}
"""Kind of database -> what can be broken: SQLite's errors; the connection before a statement, or
after a commit, of which nobody hears."""


class BrokenStatements:
    """Breaks statements of the thread that made it; commits count, too."""

    def __init__(self, database: Database, kind: str, first: int, every: int = 0) -> None:
        """Break a statement, and maybe more.

        Args:
            database: whose statements break.
            kind: of `STATEMENT_FAULTS`.
            first: number of the first broken one; 0 for none.
            every: after each, how many until the next; 0 for none. More than a turn has, or it
                would never end.
        """
        self._is_sqlite, self._kind = database.is_sqlite, kind
        self._next, self._every = first, every
        self._thread = threading.get_ident()
        self.seen = self.broken = 0
        dialect: Any = database.engine.dialect
        for name in ("do_execute", "do_executemany"):
            setattr(dialect, name, self._breaking(getattr(dialect, name)))
        self._do_commit = dialect.do_commit
        dialect.do_commit = self._commit

    def stop(self) -> None:
        """Break nothing more."""
        self._next = 0

    def _is_due(self) -> bool:
        if threading.get_ident() != self._thread:
            return False
        self.seen += 1
        if self.seen != self._next:
            return False
        self.broken += 1
        self._next += self._every
        return True

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
        if self._is_sqlite:
            raise sqlite3.OperationalError(self._kind)
        cut(connection)
        connection.execute("SELECT 1")


def cut(connection: Any) -> None:
    """Cut a connection of psycopg below it, as a network or a killed server does."""
    with socket.socket(fileno=os.dup(connection.fileno())) as wire:
        wire.shutdown(socket.SHUT_RDWR)
