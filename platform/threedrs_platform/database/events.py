"""The event stream of a run: gap-free numbers, written in the transaction of what they tell."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from threedrs_platform.database import schema
from threedrs_platform.database.connection import (
    BEFORE_COMMIT,
    KEEPS_MESSAGES,
    Database,
    now,
)
from threedrs_platform.database.kept_json import kept_object
from threedrs_platform.database.prepared import Prepared
from threedrs_platform.database.turns import whole_turn

# The lock of the run's row makes writers of one run take turns, on PostgreSQL, too.
_COUNT = Prepared(
    update(schema.runs)
    .where(schema.runs.c.id == bindparam("run"))
    .values(last_seq=schema.runs.c.last_seq + bindparam("more"))
    .returning(schema.runs.c.last_seq, now())
)
_ADD = Prepared(insert(schema.events), [column.name for column in schema.events.c])
_POST = Prepared(insert(schema.outbox), ["kind", "run_id", "payload_json"])


@dataclass(frozen=True)
class Event:
    """Something that happened in a run."""

    type: str
    """e.g. "step.succeeded", "cell.failed", "run.finished"."""
    step_key: str | None = None
    payload: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RecordedEvent:
    """An event with its place in the stream."""

    run_id: str
    seq: int
    at: float
    type: str
    step_key: str | None
    payload: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """The event as one line of the stream shows it."""
        return {
            "schema": "workflows.event/1",
            "run": self.run_id,
            "seq": self.seq,
            "at": self.at,
            "type": self.type,
            "step": self.step_key,
            **self.payload,
        }


def append_events(connection: Connection, run_id: str, events: Sequence[Event]) -> None:
    """Add events to a run's stream, written together when the open `Database.write` commits."""
    if not events:
        return
    pending = connection.info.setdefault(BEFORE_COMMIT, {})
    if ("events", run_id) not in pending:
        pending["events", run_id] = _PendingEvents(run_id, [])
    pending["events", run_id].events.extend(events)


@dataclass(frozen=True)
class _PendingEvents:
    """Events of a run that its transaction has not written yet."""

    run_id: str
    events: list[Event]

    def __call__(self, connection: Connection) -> None:
        """Number and write them. The counter lives in the run's row, so no number is skipped."""
        count = len(self.events)
        last, at = _COUNT.run(connection, {"run": self.run_id, "more": count}).one()
        rows = [
            {
                "run_id": self.run_id,
                "seq": number,
                "at": at,
                "type": event.type,
                "step_key": event.step_key,
                "payload_json": json.dumps(dict(event.payload)),
            }
            for number, event in enumerate(self.events, start=last - count + 1)
        ]
        _ADD.run_many(connection, rows)


@whole_turn
def read_events(database: Database, run_id: str, after: int = 0) -> list[RecordedEvent]:
    """Events of a run with a number above `after`, in order."""
    table = schema.events
    query = select(table).where(table.c.run_id == run_id, table.c.seq > after).order_by(table.c.seq)
    with database.read() as connection:
        rows = connection.execute(query).all()
    return [
        RecordedEvent(
            row.run_id,
            row.seq,
            row.at,
            row.type,
            row.step_key,
            kept_object(row.payload_json, "an event"),
        )
        for row in rows
    ]


def post(connection: Connection, run_id: str, kind: str, *payloads: Mapping[str, Any]) -> None:
    """Leave messages in the outbox, for trackers to deliver after the commit; none where tracking
    is off."""
    if not connection.get_execution_options().get(KEEPS_MESSAGES, True):
        return
    rows = [
        {"kind": kind, "run_id": run_id, "payload_json": json.dumps(dict(payload))}
        for payload in payloads
    ]
    _POST.run_many(connection, rows)
