"""Messages that were left in the commit's own transaction, to be delivered to trackers later."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, exc, func, select, text, update

from threedrs_platform.database.connection import Database, now
from threedrs_platform.database.schema import outbox
from threedrs_platform.database.turns import whole_turn
from threedrs_platform.shown_urls import without_secrets
from threedrs_platform.storage import place_errors

DELIVERY_LOCK = 0x3D26
"""PostgreSQL advisory lock: one deliverer at a time."""


MOST_TRIES = 3
"""Deliveries that a message may fail before it is set aside until somebody asks anew."""


@dataclass(frozen=True)
class Message:
    """News of a run or a cell, for trackers to write down."""

    id: int
    kind: str
    run_id: str
    text: str
    """What it tells, as JSON."""

    @cached_property
    def payload(self) -> Mapping[str, Any]:
        """What it tells.

        Raises:
            ValueError: the text is damaged.
        """
        told: Mapping[str, Any] = json.loads(self.text)
        return told


@whole_turn
def open_messages(
    database: Database, without: Collection[int] = (), limit: int = 500
) -> list[Message]:
    """Undelivered messages, oldest first; not those that were set aside.

    Args:
        database: of the workspace.
        without: ids to pass over.
        limit: the most messages.
    """
    wanted = outbox.c.done_at.is_(None) & (outbox.c.tries < MOST_TRIES)
    wanted &= outbox.c.id.not_in(without)
    query = select(outbox).where(wanted).order_by(outbox.c.id).limit(limit)
    with database.read() as connection:
        rows = connection.execute(query).all()
    return [Message(row.id, row.kind, row.run_id, row.payload_json) for row in rows]


@whole_turn
def count_open(database: Database) -> int:
    """How many messages wait."""
    query = select(func.count()).select_from(outbox).where(outbox.c.done_at.is_(None))
    with database.read() as connection:
        return int(connection.scalar(query) or 0)


@whole_turn
def mark_delivered(database: Database, messages: Sequence[Message]) -> None:
    """Note that messages need no delivery any more."""
    with database.write() as connection:
        mine = outbox.c.id.in_([message.id for message in messages])
        connection.execute(update(outbox).where(mine).values(done_at=now()))


@whole_turn
def note_failure(database: Database, message: Message, cause: str, *, refused: bool) -> None:
    """Keep why a message was not delivered; refused `MOST_TRIES` times, it is set aside."""
    with database.write() as connection:
        mine = update(outbox).where(outbox.c.id == message.id)
        connection.execute(
            mine.values(tries=outbox.c.tries + int(refused), error=without_secrets(cause))
        )


@whole_turn
def try_again(database: Database) -> None:
    """Let messages that were set aside be tried anew."""
    with database.write() as connection:
        connection.execute(update(outbox).where(outbox.c.done_at.is_(None)).values(tries=0))


@whole_turn
def why_open(database: Database) -> str:
    """Why the oldest message that failed could not be delivered; "" if none has failed."""
    failed = outbox.c.done_at.is_(None) & outbox.c.error.is_not(None)
    query = select(outbox.c.error).where(failed).order_by(outbox.c.id).limit(1)
    with database.read() as connection:
        return str(connection.scalar(query) or "")


class DeliveryLock:
    """The right to deliver, as long as it is held."""

    def __init__(self, connection: Connection | None = None, is_mine: bool = True) -> None:
        self._connection, self._is_mine = connection, is_mine

    def __bool__(self) -> bool:
        """Whether it is held still: a server that restarted has forgotten it."""
        if self._is_mine and self._connection is not None:
            try:
                self._connection.execute(text("SELECT 1"))
            except exc.DBAPIError:
                self._is_mine = False
        return self._is_mine


@contextlib.contextmanager
def sole_deliverer(database: Database, folder: Path) -> Iterator[DeliveryLock]:
    """Whether this process may deliver; nobody else may as long as the block lasts.

    Args:
        database: on PostgreSQL the lock is the server's.
        folder: on SQLite the lock is a file in here.
    """
    if database.is_sqlite:
        with place_errors(f"lock {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            # Never deleted: who locks a deleted file locks nobody out.
            file = (folder / "delivery.lock").open("w")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield DeliveryLock(is_mine=False)
            else:
                yield DeliveryLock()
        return
    # The lock lives as long as its connection, which is in no transaction: those may not idle.
    with database.session() as connection:
        arguments = {"lock": DELIVERY_LOCK}
        got = bool(connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), arguments))
        try:
            yield DeliveryLock(connection, got)
        finally:
            if got:
                with contextlib.suppress(exc.DBAPIError):  # a lost session has let go of it
                    connection.execute(text("SELECT pg_advisory_unlock(:lock)"), arguments)
