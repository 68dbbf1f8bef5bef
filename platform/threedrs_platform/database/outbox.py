"""Messages that were left in the commit's own transaction, to be delivered to trackers later."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select, text, update

from threedrs_platform.database.connection import Database, now
from threedrs_platform.database.schema import outbox
from threedrs_platform.database.turns import whole_turn
from threedrs_platform.storage import storage_errors

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
    payload: Mapping[str, Any]


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
    return [Message(row.id, row.kind, row.run_id, json.loads(row.payload_json)) for row in rows]


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
        connection.execute(mine.values(tries=outbox.c.tries + refused, error=cause))


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


@contextlib.contextmanager
def sole_deliverer(database: Database, folder: Path) -> Iterator[bool]:
    """Whether this process may deliver; nobody else may as long as the block lasts.

    Args:
        database: on PostgreSQL the lock is the server's.
        folder: on SQLite the lock is a file in here.
    """
    if database.is_sqlite:
        with storage_errors(f"lock {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            # Never deleted: who locks a deleted file locks nobody out.
            file = (folder / "delivery.lock").open("w")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        return
    with database.read() as connection:  # the lock lives as long as this connection
        arguments = {"lock": DELIVERY_LOCK}
        got = connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), arguments)
        try:
            yield bool(got)
        finally:
            if got:
                connection.execute(text("SELECT pg_advisory_unlock(:lock)"), arguments)
