"""Curves of steps that have not committed: what their newest attempt has reported so far."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path

from sqlalchemy import select

from threedrs_platform.compute.recorder import CurvePoint, LiveTail
from threedrs_platform.database.connection import Database
from threedrs_platform.database.progress import live_file
from threedrs_platform.database.schema import attempts, steps
from threedrs_platform.database.turns import whole_turn
from threedrs_platform.states import StepState


def live_curves(
    database: Database, step_keys: Collection[str], root: Path | None = None
) -> dict[str, list[CurvePoint]]:
    """Points by step, ordered by step and name; of running steps, and of those that failed.

    A committed step's curves lie in the database (`Results.curves`). Nothing is written: the points
    are read from the file that an attempt leaves beside its log.

    Args:
        database: tells which steps are not done, and where their attempts log.
        step_keys: those that are looked at.
        root: the workspace's folder, which holds those files.
    """
    points = {}
    for key, log_file in _newest_logs(database, step_keys).items():
        file = live_file(log_file, root)
        found = _points(file) if file is not None else []
        if found:
            points[key] = found
    return points


@whole_turn
def _newest_logs(database: Database, step_keys: Collection[str]) -> dict[str, str]:
    """Log file of the newest attempt of each step that has not succeeded."""
    query = (
        select(attempts.c.step_key, attempts.c.log_file)
        .join(steps, steps.c.key == attempts.c.step_key)
        .where(steps.c.key.in_(list(step_keys)), steps.c.state != StepState.SUCCEEDED)
        .order_by(attempts.c.n)
    )
    with database.read() as connection:
        return {row.step_key: row.log_file for row in connection.execute(query) if row.log_file}


def _points(file: Path) -> list[CurvePoint]:
    """A later value for the same step and name replaces an earlier one, as at the commit."""
    values: dict[tuple[int, str], float] = {}
    for line in LiveTail(file).new_lines():
        if line.get("kind") == "curve":
            values |= {(line["step"], name): value for name, value in line["values"].items()}
    return [
        CurvePoint(step, name, math.nan if values[step, name] is None else values[step, name])
        for step, name in sorted(values)
    ]
