"""Which artifacts and scratch folders somebody may still need."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import or_, select

from threedrs_platform.database import schema
from threedrs_platform.database.connection import Database, now
from threedrs_platform.database.turns import whole_turn
from threedrs_platform.states import RunState

UNENDED = (RunState.RUNNING, RunState.INTERRUPTED, RunState.PAUSED)
_runs, _links, _steps = schema.runs, schema.cell_steps, schema.steps


@dataclass(frozen=True)
class Needed:
    """What garbage collection must leave alone."""

    digests: set[str]
    """Artifacts of kept runs and of recent steps."""
    unfinished: set[str]
    """Keys of steps whose scratch folder may be used again."""


@whole_turn
def needed(database: Database, keep_runs: int, younger_than_s: float) -> Needed:
    """What the newest runs, all runs that go on or can be resumed, and recent steps hold.

    A step's inputs are steps of the same run, so the outputs of a run's steps are all it needs.
    """
    newest = select(_runs.c.id).order_by(_runs.c.created_at.desc()).limit(keep_runs)
    kept = or_(_runs.c.id.in_(newest), _runs.c.state.in_(UNENDED))
    of_runs = (
        select(_steps.c.output_digest)
        .join(_links, _links.c.step_key == _steps.c.key)
        .join(_runs, _runs.c.id == _links.c.run_id)
        .where(kept, _steps.c.output_digest.is_not(None))
    )
    recent = select(_steps.c.output_digest).where(
        _steps.c.updated_at > now() - younger_than_s, _steps.c.output_digest.is_not(None)
    )
    unfinished = select(_steps.c.key).where(_steps.c.state != "succeeded")
    with database.read() as connection:
        digests = {*connection.scalars(of_runs), *connection.scalars(recent)}
        return Needed(digests, set(connection.scalars(unfinished)))


@whole_turn
def known_digests(database: Database) -> dict[str, str]:
    """Kind and label of a step by the digest of its artifact, for all succeeded steps."""
    query = select(_steps.c.output_digest, _steps.c.kind, _steps.c.label).where(
        _steps.c.state == "succeeded", _steps.c.output_digest.is_not(None)
    )
    with database.read() as connection:
        return {
            row.output_digest: f"{row.kind} {row.label}".strip()
            for row in connection.execute(query)
        }


def scratch_folders(scratch: Path) -> list[Path]:
    """Scratch folders of steps, whatever became of them."""
    return sorted(scratch.iterdir()) if scratch.exists() else []
