"""Which runs go first where several share workers: `submit --priority`."""

from __future__ import annotations

from sqlalchemy import and_, select

from threedrs_platform.database import schema
from threedrs_platform.database.connection import Database, now
from threedrs_platform.database.kept_json import kept_object
from threedrs_platform.database.turns import whole_turn

_runs, _links, _steps = schema.runs, schema.cell_steps, schema.steps


@whole_turn
def kinds_ahead(database: Database, run_id: str) -> set[str]:
    """Kinds of steps that are ready in runs of a higher priority on which somebody works."""
    live = and_(_runs.c.state == "running", _runs.c.lease_until >= now())
    asked = select(_runs.c.options_json).where(_runs.c.id == run_id)
    with database.read() as connection:
        own = _priority(connection.scalar(asked))
        others = connection.execute(select(_runs.c.id, _runs.c.options_json).where(live)).all()
        starts = [row for row in others if '"pause": true' not in row.options_json]
        ahead = [row.id for row in starts if _priority(row.options_json) > own]
        if not ahead:
            return set()
        inputs, upstream = schema.step_inputs, _steps.alias("upstream")
        waits = (
            select(inputs.c.step_key)
            .join(upstream, upstream.c.key == inputs.c.input_key)
            .where(inputs.c.step_key == _steps.c.key, upstream.c.state != "succeeded")
            .exists()
        )
        ready = (
            select(_steps.c.kind)
            .join(_links, _links.c.step_key == _steps.c.key)
            .where(_links.c.run_id.in_(ahead), _steps.c.state == "pending", ~waits)
            .distinct()
        )
        return set(connection.scalars(ready))


def _priority(options_json: str | None) -> int:
    return int(kept_object(options_json, "options of a run").get("priority") or 0)
