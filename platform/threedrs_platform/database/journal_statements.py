"""The journal's frequent statements, built once: composing one costs more than running it.

Of a claim, `step` is the key and `claimed` the epoch; `me` is the owner.
"""

from __future__ import annotations

from sqlalchemy import and_, bindparam, insert, or_, select, update

from threedrs_platform.database import schema
from threedrs_platform.database.connection import now
from threedrs_platform.database.prepared import Prepared
from threedrs_platform.database.step_rows import Lookup

_steps, _attempts, _inputs = schema.steps, schema.attempts, schema.step_inputs

_LEASE = now() + bindparam("lease_s")
LEASE_OF = Prepared(select(_steps.c.lease_until).where(_steps.c.key == bindparam("step")))
_TAKEN = update(_steps).values(
    state="running",
    owner=bindparam("me"),
    epoch=_steps.c.epoch + 1,  # from here on the last owner, however alive, cannot commit
    lease_until=_LEASE,
    failure=None,
    message=None,
    updated_at=now(),
)
TAKE_PENDING = Lookup.of(
    lambda among: _TAKEN.where(among, _steps.c.state == "pending").returning(
        _steps.c.key, _steps.c.epoch
    ),
    _steps.c.key,
)
TAKE = Prepared(
    _TAKEN.where(
        _steps.c.key == bindparam("step"),
        or_(
            _steps.c.state == "pending",
            and_(
                _steps.c.state == "running",
                or_(_steps.c.lease_until < now(), _steps.c.owner == bindparam("dead")),
            ),
        ),
    ).returning(_steps.c.epoch)
)
BEGIN_ATTEMPT = Prepared(
    insert(_attempts).values(started_at=now()),
    ["step_key", "n", "run_id", "owner", "state", "log_file", "note"],
)
HELD = Lookup.of(
    lambda among: (
        select(_steps.c.key, _steps.c.epoch)
        # No bare column: SQLite would look through all that the owner has ever done, not by key.
        .where(among, _steps.c.owner.concat("") == bindparam("me"), _steps.c.state == "running")
        .with_for_update()
    ),
    _steps.c.key,
)
_MINE = and_(
    _steps.c.key == bindparam("step"),
    _steps.c.epoch == bindparam("claimed"),
    _steps.c.owner == bindparam("me"),
    _steps.c.state == "running",
)
_LEAVE = update(_steps).where(_MINE).values(lease_until=None, updated_at=now())
SUCCEED = Prepared(
    _LEAVE.values(
        state="succeeded",
        content_key=bindparam("content"),
        output_digest=bindparam("digest"),
        output_bytes=bindparam("size"),
        seconds=bindparam("took"),
        canonical_attempt=bindparam("claimed"),
    )
)
FAIL = Prepared(
    _LEAVE.values(
        state=bindparam("new_state"), failure=bindparam("why_class"), message=bindparam("why")
    )
)
RELEASE = Prepared(_LEAVE.values(state=bindparam("new_state"), reason=bindparam("why")))
_OPEN_ATTEMPT = and_(
    _attempts.c.step_key == bindparam("step"),
    _attempts.c.n == bindparam("claimed"),
    _attempts.c.state == "running",
)
_ENDED = (
    update(_attempts)
    .where(_OPEN_ATTEMPT)
    .values(
        state=bindparam("new_state"),
        message=bindparam("why"),
        failure=bindparam("why_class"),
        ended_at=now(),
    )
)
END_ATTEMPT = Prepared(_ENDED)
CUT_ATTEMPT = (
    update(_attempts)
    .where(
        _attempts.c.step_key == bindparam("step"),
        _attempts.c.n == bindparam("claimed"),
        _attempts.c.ended_at > bindparam("lease"),
    )
    .values(ended_at=bindparam("lease"))
)
MEASURED = ("node", "pid", "seconds", "cpu_s", "gpu_s", "max_rss")
COMMIT_ATTEMPT = Prepared(_ENDED.values({name: bindparam(f"of_{name}") for name in MEASURED}))
SET_INPUT = Prepared(
    update(_inputs)
    .where(_inputs.c.step_key == bindparam("step"), _inputs.c.name == bindparam("input_name"))
    .values(digest=bindparam("input_digest"))
)
END_CELL = Prepared(
    update(schema.cells)
    .where(
        schema.cells.c.run_id == bindparam("run"),
        schema.cells.c.cell_id == bindparam("cell"),
        schema.cells.c.seed == bindparam("of_seed"),
        schema.cells.c.state != bindparam("new_state"),
    )
    .values(state=bindparam("new_state"))
)
