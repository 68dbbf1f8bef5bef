"""What runs have cost: sums over attempts, made by the database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, func, select

from threedrs_platform.database.connection import Database
from threedrs_platform.database.schema import attempts, cells, steps
from threedrs_platform.states import AttemptState


@dataclass(frozen=True)
class Cost:
    """Of some attempts, failed ones included."""

    attempts: int = 0
    seconds: float = 0.0
    """Wall clock, summed over attempts."""
    cpu_s: float = 0.0
    gpu_s: float = 0.0
    largest_rss: int = 0
    """Bytes."""
    wasted_s: float = 0.0
    """Wall clock of attempts that did not commit."""


_COMMITTED = attempts.c.state == AttemptState.COMMITTED
_SUMS: tuple[ColumnElement[Any], ...] = (
    func.count(),
    func.coalesce(func.sum(attempts.c.seconds), 0.0),
    func.coalesce(func.sum(attempts.c.cpu_s), 0.0),
    func.coalesce(func.sum(attempts.c.gpu_s), 0.0),
    func.coalesce(func.max(attempts.c.max_rss), 0),
    func.coalesce(func.sum(attempts.c.seconds).filter(~_COMMITTED), 0.0),
)


def costs_of_runs(database: Database, run_ids: Sequence[str]) -> dict[str, Cost]:
    """Cost by run; runs that computed nothing are left out."""
    query = (
        select(attempts.c.run_id, *_SUMS)
        .where(attempts.c.run_id.in_(run_ids))
        .group_by(attempts.c.run_id)
    )
    with database.read() as connection:
        return {run_id: Cost(*sums) for run_id, *sums in connection.execute(query)}


def costs_by_kind(database: Database, run_id: str) -> dict[str, Cost]:
    """Cost of one run by kind of step, dearest first."""
    query = (
        select(steps.c.kind, *_SUMS)
        .join(steps, steps.c.key == attempts.c.step_key)
        .where(attempts.c.run_id == run_id)
        .group_by(steps.c.kind)
    )
    with database.read() as connection:
        found = {kind: Cost(*sums) for kind, *sums in connection.execute(query)}
    return dict(sorted(found.items(), key=lambda item: -item[1].seconds))


def cell_counts(database: Database, run_ids: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
    """Run -> state -> number of cells."""
    query = (
        select(cells.c.run_id, cells.c.state, func.count())
        .where(cells.c.run_id.in_(run_ids))
        .group_by(cells.c.run_id, cells.c.state)
    )
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    with database.read() as connection:
        for run_id, state, count in connection.execute(query):
            counts[run_id][state] = count
    return counts
