"""How often a step has failed lately, whoever tried it: retries count across workers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from sqlalchemy import func, select

from threedrs_platform.database.connection import Database, now
from threedrs_platform.database.schema import attempts, events
from threedrs_platform.database.turns import whole_turn
from threedrs_platform.states import AttemptState, FailureClass


@dataclass(frozen=True)
class FailedTries:
    """Failed attempts of one step."""

    counts: Counter[FailureClass] = field(default_factory=Counter)
    last: FailureClass | None = None
    """Class of the newest one."""
    age_s: float = 0.0
    """Since the newest one ended, by the database's clock."""


@whole_turn
def opened_at(database: Database, run_id: str) -> float:
    """When a run was submitted, or resumed last: tries before that count no more."""
    columns = events.c
    asked = select(func.max(columns.at)).where(
        columns.run_id == run_id, columns.type.in_(["run.submitted", "run.resumed"])
    )
    with database.read() as connection:
        return float(connection.scalar(asked) or 0.0)


@whole_turn
def failed_tries(database: Database, key: str, since: float) -> FailedTries:
    """Failed attempts of a step that began after a moment of the database's clock."""
    asked = (
        select(attempts.c.failure, (now() - attempts.c.ended_at).label("age_s"))
        .where(
            attempts.c.step_key == key,
            attempts.c.state == AttemptState.FAILED,
            attempts.c.started_at >= since,
        )
        .order_by(attempts.c.n)
    )
    with database.read() as connection:
        rows = connection.execute(asked).all()
    if not rows:
        return FailedTries()
    classes = [FailureClass(row.failure) for row in rows]
    return FailedTries(Counter(classes), classes[-1], float(rows[-1].age_s or 0.0))
