"""GPU time: what a run has spent, whatever became of its attempts, and what steps took before."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, func, literal, select

from threedrs_platform.database import schema
from threedrs_platform.database.claims import Claim
from threedrs_platform.database.connection import Database, now
from threedrs_platform.database.turns import whole_turn

_attempts, _steps = schema.attempts, schema.steps
PER_SCENE = "training/seconds_per_scene"
"""The metric that training reports."""


@whole_turn
def gpu_seconds(database: Database, run_id: str, without: Collection[Claim] = ()) -> float:
    """Seconds times GPUs of all attempts of a run, failed and lost ones too.

    An attempt whose owner died counts up to the end of its lease.

    Args:
        without: attempts that somebody else counts.
    """
    lease = func.coalesce(_steps.c.lease_until, literal(0.0))
    columns = (_attempts, _steps.c.spec_json, lease.label("lease"), now().label("at"))
    query = (
        select(*columns)
        .join(_steps, _steps.c.key == _attempts.c.step_key)
        .where(_attempts.c.run_id == run_id)
    )
    with database.read() as connection:
        rows = connection.execute(query).all()
    spent = 0.0
    for row in rows:
        if Claim(row.step_key, row.n) in without:
            continue
        end = row.ended_at if row.ended_at is not None else min(row.at, row.lease)
        gpus = float(json.loads(row.spec_json)["resources"]["gpus"])
        elapsed = max(0.0, end - row.started_at) * gpus
        spent += elapsed if row.gpu_s is None else row.gpu_s
    return spent


@dataclass(frozen=True)
class Measured:
    """What a step on GPUs took when it ran here."""

    key: str
    kind: str
    label: str
    gpus: float
    seconds: float
    params: Mapping[str, Any]
    per_scene: float | None
    """Seconds per scene of training, where it trained."""


@whole_turn
def measured_steps(database: Database, limit: int = 500) -> list[Measured]:
    """The newest steps of each kind on GPUs that succeeded.

    Args:
        database: the workspace's.
        limit: of one kind.
    """
    rate = and_(schema.metrics.c.step_key == _steps.c.key, schema.metrics.c.name == PER_SCENE)
    newest = func.row_number().over(
        partition_by=_steps.c.kind, order_by=(_steps.c.updated_at.desc(), _steps.c.key)
    )
    done = (
        select(_steps.c.key, newest.label("place"))
        .join(
            _attempts,
            and_(_attempts.c.step_key == _steps.c.key, _attempts.c.n == _steps.c.canonical_attempt),
        )
        .where(_steps.c.state == "succeeded", _attempts.c.gpu_s > 0)
        .subquery()
    )
    query = (
        select(_steps.c.key, _steps.c.kind, _steps.c.label, _steps.c.seconds, _steps.c.spec_json)
        .add_columns(schema.metrics.c.value)
        .join(done, done.c.key == _steps.c.key)
        .outerjoin(schema.metrics, rate)
        .where(done.c.place <= limit)
        .order_by(_steps.c.updated_at.desc())
    )
    with database.read() as connection:
        rows = connection.execute(query).all()
    found = []
    for key, kind, label, seconds, spec, per_scene in rows:
        told = json.loads(spec)
        gpus = float(told["resources"]["gpus"])
        found.append(Measured(key, kind, label, gpus, float(seconds), told["params"], per_scene))
    return found
