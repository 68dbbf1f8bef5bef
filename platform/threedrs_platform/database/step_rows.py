"""Reading the journal's steps: states by key, twins by content, history by kind."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Select, and_, bindparam, func, literal, select

from threedrs_platform.database import schema
from threedrs_platform.database.connection import Database, now
from threedrs_platform.database.owners import is_dead
from threedrs_platform.states import StepState

KEYS_PER_QUERY = 5000
_steps = schema.steps


@dataclass(frozen=True)
class StepRow:
    """What the journal knows of one step."""

    key: str
    kind: str
    label: str
    state: StepState
    reason: str
    content_key: str | None
    output_digest: str | None
    output_bytes: int | None
    seconds: float | None
    owner: str | None
    epoch: int
    failure: str | None
    message: str | None
    lease_expired: bool

    @property
    def is_abandoned(self) -> bool:
        """Running on paper only: the lease ran out, or its owner is provably dead."""
        return self.state is StepState.RUNNING and (self.lease_expired or is_dead(self.owner))


@dataclass(frozen=True)
class History:
    """What steps of one kind and label have cost so far."""

    count: int
    seconds: float
    size: float


_EXPIRED: ColumnElement[bool] = func.coalesce(_steps.c.lease_until < now(), True).label("expired")
_COLUMNS = [_steps.c[f.name] for f in fields(StepRow) if f.name != "lease_expired"]
_VALUES: BindParameter[Any] = bindparam("wanted", expanding=True)
_BY_KEY = select(*_COLUMNS, _EXPIRED).where(_steps.c.key.in_(_VALUES))
_BY_CONTENT = select(*_COLUMNS, _EXPIRED).where(
    _steps.c.content_key.in_(_VALUES), _steps.c.state == "succeeded"
)


class StepReader:
    """Questions about steps."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def rows(self, keys: Collection[str]) -> dict[str, StepRow]:
        """The known ones among the keys."""
        return {row.key: row for row in self._find(_BY_KEY, keys)}

    def with_content(self, content_keys: Collection[str]) -> dict[str, StepRow]:
        """A succeeded step for each content key that has one."""
        found = self._find(_BY_CONTENT, content_keys)
        return {row.content_key: row for row in found if row.content_key}

    def history(self) -> dict[tuple[str, str], History]:
        """Mean cost of succeeded steps by kind and label, and by kind alone under label ""."""
        cost = (func.count(), func.avg(_steps.c.seconds), func.avg(_steps.c.output_bytes))
        worked = and_(_steps.c.state == "succeeded", _steps.c.seconds.is_not(None))
        by_label = select(_steps.c.kind, _steps.c.label, *cost).where(worked)
        by_kind = select(_steps.c.kind, literal(""), *cost).where(worked)
        with self.database.read() as connection:
            rows = [
                *connection.execute(by_label.group_by(_steps.c.kind, _steps.c.label)),
                *connection.execute(by_kind.group_by(_steps.c.kind)),
            ]
        return {
            (kind, label): History(count, float(seconds or 0), float(size or 0))
            for kind, label, count, seconds, size in rows
        }

    def input_digests(self, keys: Collection[str]) -> dict[str, dict[str, str | None]]:
        """Digests of what steps have read, by step and name of the input."""
        table = schema.step_inputs
        found: dict[str, dict[str, str | None]] = {}
        with self.database.read() as connection:
            for chunk in chunks(keys):
                for row in connection.execute(select(table).where(table.c.step_key.in_(chunk))):
                    found.setdefault(row.step_key, {})[row.name] = row.digest
        return found

    def recipes(self, kinds: Collection[str], limit: int = 2000) -> list[tuple[StepRow, Any]]:
        """Steps of some kinds with their recipes, newest first."""
        query = (
            select(*_COLUMNS, _EXPIRED, _steps.c.recipe_json)
            .where(_steps.c.kind.in_(kinds))
            .order_by(_steps.c.created_at.desc(), _steps.c.key)
            .limit(limit)
        )
        with self.database.read() as connection:
            rows = connection.execute(query).all()
        return [(_row(row[:-1]), json.loads(row.recipe_json)) for row in rows]

    def _find(self, query: Select[Any], values: Collection[str]) -> Iterator[StepRow]:
        with self.database.read() as connection:
            for chunk in chunks(values):
                yield from map(_row, connection.execute(query, {"wanted": chunk}).all())


def chunks(values: Collection[str]) -> Iterator[list[str]]:
    """Pieces that fit into one query."""
    rest = iter(values)
    while chunk := list(islice(rest, KEYS_PER_QUERY)):
        yield chunk


def _row(values: Any) -> StepRow:
    key, kind, label, state, *rest, expired = values
    known: Any = (key, kind, label, StepState(state), *rest, bool(expired))
    return StepRow(*known)
