"""Counts what is sent to a database: how much work a turn or a plan is, without a clock."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from sqlalchemy import event

from threedrs_platform.database.connection import Database


@contextlib.contextmanager
def sent_statements(database: Database) -> Iterator[list[str]]:
    """Texts of all statements that are sent meanwhile; one for many rows counts once."""
    sent: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        sent.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
