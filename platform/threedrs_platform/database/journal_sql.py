"""The journal's frequent statements, built once: composing one costs more than running it.

A claim is `step` and `claimed` (its epoch); `me` is the owner.
"""

from __future__ import annotations

from sqlalchemy import and_, bindparam, insert, or_, update

from threedrs_platform.database import schema
from threedrs_platform.database.connection import now

_steps, _attempts, _inputs = schema.steps, schema.attempts, schema.step_inputs

_LEASE = now() + bindparam("lease_s")
TAKE = (
    update(_steps)
    .where(
        _steps.c.key == bindparam("step"),
        or_(
            _steps.c.state == "pending",
            and_(
                _steps.c.state == "running",
                or_(_steps.c.lease_until < now(), _steps.c.owner == bindparam("dead")),
            ),
        ),
    )
    .values(
        state="running",
        owner=bindparam("me"),
        epoch=_steps.c.epoch + 1,
        lease_until=_LEASE,
        failure=None,
        message=None,
        updated_at=now(),
    )
    .returning(_steps.c.epoch)
)
BEGIN_ATTEMPT = insert(_attempts).values(started_at=now())
_MINE = and_(
    _steps.c.key == bindparam("step"),
    _steps.c.epoch == bindparam("claimed"),
    _steps.c.owner == bindparam("me"),
    _steps.c.state == "running",
)
_LEAVE = update(_steps).where(_MINE).values(lease_until=None, updated_at=now())
SUCCEED = _LEAVE.values(
    state="succeeded",
    content_key=bindparam("content"),
    output_digest=bindparam("digest"),
    output_bytes=bindparam("size"),
    seconds=bindparam("took"),
    canonical_attempt=bindparam("claimed"),
)
FAIL = _LEAVE.values(
    state=bindparam("new_state"), failure=bindparam("why_class"), message=bindparam("why")
)
RELEASE = _LEAVE.values(state=bindparam("new_state"), reason=bindparam("why"))
_OPEN_ATTEMPT = and_(
    _attempts.c.step_key == bindparam("step"),
    _attempts.c.n == bindparam("claimed"),
    _attempts.c.state == "running",
)
END_ATTEMPT = (
    update(_attempts)
    .where(_OPEN_ATTEMPT)
    .values(
        state=bindparam("new_state"),
        message=bindparam("why"),
        failure=bindparam("why_class"),
        ended_at=now(),
    )
)
MEASURED = ("node", "pid", "seconds", "cpu_s", "gpu_s", "max_rss")
COMMIT_ATTEMPT = END_ATTEMPT.values({name: bindparam(f"of_{name}") for name in MEASURED})
SET_INPUT = (
    update(_inputs)
    .where(_inputs.c.step_key == bindparam("step"), _inputs.c.name == bindparam("input_name"))
    .values(digest=bindparam("input_digest"))
)
END_CELL = (
    update(schema.cells)
    .where(
        schema.cells.c.run_id == bindparam("run"),
        schema.cells.c.cell_id == bindparam("cell"),
        schema.cells.c.seed == bindparam("of_seed"),
    )
    .values(state=bindparam("new_state"))
)
