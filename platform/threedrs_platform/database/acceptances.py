"""Results of older code that somebody has declared valid for newer code, and what code was which.

An edit without effect on numbers (a renamed variable) gives a step another key. Accepting records
that the results under the old key stand for the new one: with both digests of code, the time and
the reason. An acceptance is never the default, and can be taken back.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from threedrs_platform.database import schema
from threedrs_platform.database.connection import Database, now
from threedrs_platform.database.turns import whole_turn
from threedrs_platform.states import StepState

ACCEPTED = "accepted: "
"""How the reason of a step begins whose results were accepted, not computed."""
SAME_INPUTS = "same inputs as step "
"""How the reason of a step begins that took over what was done with the same inputs."""
CodeParts = Mapping[str, Mapping[str, str]]
"""Module -> name of a function or class in it -> digest."""

_table = schema.acceptances


@dataclass(frozen=True)
class Proposal:
    """Results of one step that are to stand for another one, which differs in its code alone."""

    key: str
    """The step that has no results."""
    source: str
    """The step whose results stand for it."""
    kind: str
    label: str
    old_code: str
    new_code: str
    changes: tuple[str, ...]
    """Modules and functions that differ."""


@dataclass(frozen=True)
class Acceptance(Proposal):
    """A proposal that somebody has accepted."""

    number: int
    why: str
    accepted_by: str
    accepted_at: float
    """Seconds since 1970."""
    taken_back_at: float | None = None


class Acceptances:
    """The acceptances of one database."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def in_force(self, keys: Collection[str]) -> dict[str, Acceptance]:
        """The newest acceptance of each of these steps that has one, unless it was taken back."""
        every = self.every(in_force=True)  # few, and a plan asks for thousands of keys
        return {each.key: each for each in every if each.key in keys}

    @whole_turn
    def every(self, *, in_force: bool = False) -> list[Acceptance]:
        """All acceptances, oldest first."""
        query = select(_table).order_by(_table.c.number)
        if in_force:
            query = query.where(_table.c.taken_back_at.is_(None))
        with self.database.read() as connection:
            return [_acceptance(row) for row in connection.execute(query)]

    @whole_turn
    def add(self, proposals: Sequence[Proposal], why: str, who: str) -> None:
        """Record that proposals are accepted."""
        rows = [
            {
                "key": each.key,
                "source": each.source,
                "kind": each.kind,
                "label": each.label,
                "old_code": each.old_code,
                "new_code": each.new_code,
                "changes_json": json.dumps(each.changes),
                "why": why,
                "accepted_by": who,
            }
            for each in proposals
        ]
        with self.database.write() as connection:
            connection.execute(insert(_table).values(accepted_at=now()), rows)

    @whole_turn
    def take_back(self, numbers: Collection[int]) -> list[Acceptance]:
        """End acceptances that are in force. Returns them.

        Their steps have no results any more, nor have steps that only took over what was done with
        the same inputs.
        """
        with self.database.write() as connection:
            ended = connection.execute(
                update(_table)
                .where(_table.c.number.in_(numbers), _table.c.taken_back_at.is_(None))
                .values(taken_back_at=now())
                .returning(_table)
            ).all()
            own = schema.steps.c.reason.startswith(ACCEPTED)
            withdrawn = _withdraw(connection, {row.key for row in ended}, own)
            while withdrawn:
                adopted = schema.steps.c.reason.startswith(SAME_INPUTS)
                withdrawn = _withdraw(connection, _readers(connection, withdrawn), adopted)
        return sorted(map(_acceptance, ended), key=lambda each: each.number)


def _withdraw(connection: Connection, keys: Collection[str], which: Any) -> set[str]:
    """Take the results of steps away, as far as the steps are of a sort. Returns their keys."""
    steps = schema.steps
    change = (
        update(steps)
        .where(steps.c.key.in_(list(keys)), steps.c.state == StepState.SUCCEEDED, which)
        .values(state=StepState.PENDING, reason="acceptance taken back", updated_at=now())
        .returning(steps.c.key)
    )
    withdrawn = set(connection.scalars(change))
    for table in schema.MEASURED:
        connection.execute(delete(table).where(table.c.step_key.in_(withdrawn)))
    return withdrawn


def _readers(connection: Connection, keys: Collection[str]) -> set[str]:
    table = schema.step_inputs
    query = select(table.c.step_key).where(table.c.input_key.in_(list(keys)))
    return set(connection.scalars(query))


def accepted_why(reason: str) -> str:
    """Why a step's results were accepted, read from the step's reason; "" if they were computed."""
    return reason.removeprefix(ACCEPTED) if reason.startswith(ACCEPTED) else ""


@whole_turn
def remember_code(database: Database, versions: Mapping[str, CodeParts]) -> None:
    """Keep what each digest of code was made of, to say later what has changed since.

    Args:
        database: where it is kept.
        versions: parts by the digest of the whole.
    """
    rows = [{"digest": key, "parts_json": json.dumps(parts)} for key, parts in versions.items()]
    with database.write() as connection:
        database.insert_new(connection, schema.code_versions, rows, first_seen=now())


@whole_turn
def code_parts(database: Database, digests: Collection[str]) -> dict[str, CodeParts]:
    """What digests of code were made of, as far as it is known."""
    table = schema.code_versions
    query = select(table.c.digest, table.c.parts_json).where(table.c.digest.in_(list(digests)))
    with database.read() as connection:
        return {row.digest: json.loads(row.parts_json) for row in connection.execute(query)}


@whole_turn
def first_seen(database: Database, digests: Collection[str]) -> dict[str, float]:
    """When digests of code were first planned, in seconds since 1970, as far as it is known."""
    table = schema.code_versions
    query = select(table.c.digest, table.c.first_seen).where(table.c.digest.in_(list(digests)))
    with database.read() as connection:
        return {row.digest: row.first_seen for row in connection.execute(query)}


@whole_turn
def known_code(database: Database, digests: Collection[str]) -> set[str]:
    """Those of the digests whose parts are kept."""
    column = schema.code_versions.c.digest
    with database.read() as connection:
        return set(connection.scalars(select(column).where(column.in_(list(digests)))))


def _acceptance(row: Any) -> Acceptance:
    kept = {f.name: getattr(row, f.name) for f in fields(Acceptance) if f.name != "changes"}
    return Acceptance(changes=tuple(json.loads(row.changes_json)), **kept)
