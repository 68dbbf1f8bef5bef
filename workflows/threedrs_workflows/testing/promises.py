"""What a run must keep whatever happens to it: nothing lost, nothing twice, no other numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from threedrs_platform.database import schema
from threedrs_platform.database.events import read_events
from threedrs_platform.states import AttemptState
from threedrs_platform.workspace import Workspace


@dataclass(frozen=True)
class Repeats:
    """Work that was done again though its result was good."""

    committed: int
    """Steps that were committed twice."""
    redone: int
    """Attempts that began after their step's commit."""


def repeats(workspace: Workspace, damaged: Collection[str] = ()) -> Repeats:
    """What was done again.

    Args:
        workspace: of the runs.
        damaged: keys of steps whose artifact was spoilt; they have to be done again.
    """
    table = schema.attempts
    query = select(table.c.step_key, table.c.n, table.c.state)
    with workspace.database.read() as connection:
        rows = [row for row in connection.execute(query) if row.step_key not in damaged]
    done = Counter(row.step_key for row in rows if row.state == AttemptState.COMMITTED)
    first: dict[str, int] = {}
    for row in rows:
        if row.state == AttemptState.COMMITTED:
            first[row.step_key] = min(row.n, first.get(row.step_key, row.n))
    redone = sum(row.n > first.get(row.step_key, row.n) for row in rows)
    return Repeats(sum(count > 1 for count in done.values()), redone)


def results(workspace: Workspace) -> list[tuple[str, float]]:
    """Cell and number, of the steps with the role `result`."""
    query = (
        select(schema.cell_steps.c.cell_id, schema.metrics.c.value)
        .join(schema.metrics, schema.metrics.c.step_key == schema.cell_steps.c.step_key)
        .where(schema.cell_steps.c.role == "result")
        .distinct()
    )
    with workspace.database.read() as connection:
        return sorted((cell, value) for cell, value in connection.execute(query))


def has_gaps(workspace: Workspace, run_id: str) -> bool:
    """Whether events of a run are missing, or are there twice."""
    numbers = [event.seq for event in read_events(workspace.database, run_id)]
    return numbers != [*range(1, len(numbers) + 1)]


def outcome(workspace: Workspace, run_id: str, with_history: bool = True) -> dict[str, Any]:
    """All that must not depend on faults.

    Args:
        workspace: of the run.
        run_id: which run.
        with_history: with attempts and events, where faults leave no trace there, either.
    """
    steps, attempts = schema.steps, schema.attempts
    found: dict[str, Any] = {}
    with workspace.database.read() as connection:
        found["steps"] = connection.execute(
            select(steps.c.kind, steps.c.state, steps.c.output_digest)
        ).all()
        found["metrics"] = connection.execute(select(schema.metrics.c.value)).all()
        points = select(schema.curves.c.step, schema.curves.c.value)
        found["curves"] = connection.execute(points).all()
        if with_history:
            of_steps = select(steps.c.kind, steps.c.epoch, attempts.c.n, attempts.c.state)
            found["attempts"] = connection.execute(
                of_steps.join(steps, steps.c.key == attempts.c.step_key)
            ).all()
            messages = select(func.count()).select_from(schema.outbox)
            found["messages"] = [connection.scalar(messages)]
    if with_history:
        events = read_events(workspace.database, run_id)
        found["events"] = [f"{each.type} {each.payload.get('cell', '')}" for each in events]
    sets = {name: sorted(map(str, rows)) for name, rows in found.items()}
    return {**sets, "gaps": has_gaps(workspace, run_id)}
