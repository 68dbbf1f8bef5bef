"""Attempts of a run that came to nothing, those of steps that succeeded later included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, select

from threedrs_dashboards.tables import Table
from threedrs_platform.database.connection import Database
from threedrs_platform.database.schema import attempts, cell_steps, cells, steps
from threedrs_platform.states import AttemptState, StepState


@dataclass(frozen=True)
class LostAttempt:
    """One attempt that was not committed."""

    key: str
    kind: str
    label: str
    cells: tuple[str, ...]
    """Names of the cells that wait for the step."""
    n: int
    state: str
    failure: str
    """Class of the failure, as retries count them."""
    message: str
    started_at: float
    """Seconds since 1970."""
    seconds: float | None
    is_mended: bool
    """The step has succeeded since."""


def lost_attempts(database: Database, run_id: str) -> list[LostAttempt]:
    """Failed and lost attempts of a run, newest first."""
    lost = (
        select(attempts, steps.c.kind, steps.c.label, steps.c.state.label("step_state"))
        .join(steps, steps.c.key == attempts.c.step_key)
        .where(
            attempts.c.run_id == run_id,
            attempts.c.state.in_([AttemptState.FAILED, AttemptState.LOST]),
        )
        .order_by(attempts.c.started_at.desc(), attempts.c.step_key)
    )
    with database.read() as connection:
        rows = connection.execute(lost).all()
        keys = {row.step_key for row in rows}
        mine = (
            (cells.c.run_id == cell_steps.c.run_id)
            & (cells.c.cell_id == cell_steps.c.cell_id)
            & (cells.c.seed == cell_steps.c.seed)
        )
        users = (
            select(cell_steps.c.step_key, cells.c.name, cells.c.label, cells.c.seed)
            .join(cells, mine)
            .where(cell_steps.c.run_id == run_id, cell_steps.c.step_key.in_(keys))
            .order_by(cells.c.position, cells.c.seed)
        )
        titles: dict[str, list[str]] = {}
        for key, name, label, seed in connection.execute(users):
            titles.setdefault(key, []).append(f"{label or name} seed {seed}")
    return [
        LostAttempt(
            row.step_key, row.kind, row.label, tuple(titles.get(row.step_key, ())), row.n,
            row.state, row.failure or "", row.message or "", row.started_at, _seconds(row),
            row.step_state == StepState.SUCCEEDED,
        )
        for row in rows
    ]  # fmt: skip


def _seconds(row: Row[Any]) -> float | None:
    """Its own measure; of an attempt that could not tell, from its beginning to its end."""
    if row.seconds is not None:
        return float(row.seconds)
    return None if row.ended_at is None else max(0.0, float(row.ended_at - row.started_at))


def lost_table(lost: list[LostAttempt]) -> Table:
    """All of them in full."""
    rows = [
        (each.key, each.kind, each.label, "; ".join(each.cells), each.n, each.state, each.failure,
         each.started_at, each.seconds, each.is_mended, each.message)
        for each in lost
    ]  # fmt: skip
    header = ("step", "kind", "label", "cells", "attempt", "state", "failure", "started_at",
              "seconds", "succeeded_since", "message")  # fmt: skip
    return Table(header, rows)
