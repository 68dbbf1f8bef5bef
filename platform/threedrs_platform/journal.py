"""The memory of all steps: who may work on one, what came of it, and every attempt.

A step is claimed under a lease with an epoch; only the holder of the newest epoch can commit, in
one transaction with everything the step reported. Execution may happen more than once, a commit
happens once.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from threedrs_platform import schema
from threedrs_platform.database import Database, now
from threedrs_platform.events import Event, append_events, post
from threedrs_platform.owners import is_dead, this_owner
from threedrs_platform.recorder import CurvePoint
from threedrs_platform.records import Metric, SampleScore
from threedrs_platform.results import write_measurements
from threedrs_platform.states import AttemptState, FailureClass, StepState

KEYS_PER_QUERY = 5000
_steps, _attempts = schema.steps, schema.attempts


@dataclass(frozen=True)
class StepRow:
    """What the journal knows of one step."""

    key: str
    kind: str
    label: str
    state: StepState
    reason: str
    content_key: str | None
    output_digest: str | None
    output_bytes: int | None
    seconds: float | None
    owner: str | None
    epoch: int
    lease_expired: bool
    failure: str | None
    message: str | None

    @property
    def is_abandoned(self) -> bool:
        """Running on paper only: the lease ran out, or its owner is provably dead."""
        return self.state is StepState.RUNNING and (self.lease_expired or is_dead(self.owner))


@dataclass(frozen=True)
class Claim:
    """The right to commit one step, as long as no newer epoch exists."""

    key: str
    epoch: int


@dataclass(frozen=True)
class Outcome:
    """All that a successful attempt hands to its commit."""

    digest: str
    content_key: str
    input_digests: Mapping[str, str]
    size: int = 0
    files: int = 0
    seconds: float = 0.0
    cpu_s: float = 0.0
    gpu_s: float = 0.0
    max_rss: int = 0
    node: str = ""
    pid: int = 0
    metrics: Sequence[Metric] = ()
    scores: Sequence[SampleScore] = ()
    curves: Sequence[CurvePoint] = ()
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class CellKey:
    """A cell of a run."""

    cell_id: str
    seed: int


@dataclass(frozen=True)
class History:
    """What steps of one kind and label have cost so far."""

    count: int
    seconds: float
    size: float


_ROW_COLUMNS = [_steps.c[f.name] for f in fields(StepRow) if f.name != "lease_expired"]


class Journal:
    """The steps of one database, seen and changed by one owner."""

    def __init__(self, database: Database, owner: str | None = None) -> None:
        self.database = database
        self.owner = owner or str(this_owner())

    def rows(self, keys: Collection[str]) -> dict[str, StepRow]:
        """The known ones among the keys."""
        return {row.key: row for row in self._rows(_steps.c.key, keys)}

    def with_content(self, content_keys: Collection[str]) -> dict[str, StepRow]:
        """A succeeded step for each content key that has one."""
        found = self._rows(_steps.c.content_key, content_keys, _steps.c.state == "succeeded")
        return {row.content_key: row for row in found if row.content_key}

    def history(self) -> dict[tuple[str, str], History]:
        """Mean cost of succeeded steps by kind and label, and by kind alone under label ""."""
        cost = (func.count(), func.avg(_steps.c.seconds), func.avg(_steps.c.output_bytes))
        worked = and_(_steps.c.state == "succeeded", _steps.c.seconds.is_not(None))
        by_label = select(_steps.c.kind, _steps.c.label, *cost).where(worked)
        by_kind = select(_steps.c.kind, literal(""), *cost).where(worked)
        with self.database.read() as connection:
            rows = [
                *connection.execute(by_label.group_by(_steps.c.kind, _steps.c.label)),
                *connection.execute(by_kind.group_by(_steps.c.kind)),
            ]
        return {
            (kind, label): History(count, float(seconds or 0), float(size or 0))
            for kind, label, count, seconds, size in rows
        }

    def recipes(self, kinds: Collection[str], limit: int = 2000) -> list[tuple[StepRow, Any]]:
        """Steps of some kinds with their recipes, newest first."""
        query = (
            select(*_ROW_COLUMNS, _expired(), _steps.c.recipe_json)
            .where(_steps.c.kind.in_(kinds))
            .order_by(_steps.c.created_at.desc(), _steps.c.key)
            .limit(limit)
        )
        with self.database.read() as connection:
            rows = connection.execute(query).all()
        return [(_step_row(row[:-1]), json.loads(row.recipe_json)) for row in rows]

    def claim(
        self, run_id: str, key: str, lease_s: float, log_file: str = "", note: str = ""
    ) -> Claim | None:
        """Take a pending or abandoned step; None if it is held, done or given up."""
        seen = self.rows([key]).get(key)
        dead = seen.owner if seen is not None and is_dead(seen.owner) else None
        free = or_(
            _steps.c.state == "pending",
            and_(
                _steps.c.state == "running",
                or_(_steps.c.lease_until < now(), _steps.c.owner == (dead or "")),
            ),
        )
        take = (
            update(_steps)
            .where(_steps.c.key == key, free)
            .values(
                state="running",
                owner=self.owner,
                epoch=_steps.c.epoch + 1,
                lease_until=now() + lease_s,
                failure=None,
                message=None,
                updated_at=now(),
            )
            .returning(_steps.c.epoch)
        )
        with self.database.write() as connection:
            epoch = connection.scalar(take)
            if epoch is None:
                return None
            if seen is not None and seen.state is StepState.RUNNING:
                self._close_attempt(connection, key, seen.epoch, AttemptState.LOST, "owner lost")
            attempt = {
                "step_key": key,
                "n": epoch,
                "run_id": run_id,
                "owner": self.owner,
                "state": AttemptState.RUNNING,
                "log_file": log_file.format(attempt=epoch),
                "note": note,
            }
            connection.execute(insert(_attempts).values(**attempt, started_at=now()))
            started = Event("step.started", key, {"attempt": epoch, "note": note})
            append_events(connection, run_id, [started])
        return Claim(key, epoch)

    def renew(self, lease_s: float) -> None:
        """Extend every lease this owner still holds."""
        held = and_(_steps.c.owner == self.owner, _steps.c.state == "running")
        with self.database.write() as connection:
            connection.execute(update(_steps).where(held).values(lease_until=now() + lease_s))
            connection.execute(
                update(schema.runs)
                .where(schema.runs.c.owner == self.owner, schema.runs.c.state == "running")
                .values(lease_until=now() + lease_s)
            )

    def commit(
        self, run_id: str, claim: Claim, outcome: Outcome, finished: Sequence[CellKey] = ()
    ) -> bool:
        """Make an attempt's outcome the step's, with all it reported; False if the claim is stale.

        Args:
            finished: cells of the run that are complete with this step.
        """
        with self.database.write() as connection:
            taken = self._leave_running(
                connection,
                claim,
                state="succeeded",
                content_key=outcome.content_key,
                output_digest=outcome.digest,
                output_bytes=outcome.size,
                seconds=outcome.seconds,
                canonical_attempt=claim.epoch,
            )
            if not taken:
                self._lose(connection, run_id, claim)
                return False
            self._close_attempt(
                connection,
                claim.key,
                claim.epoch,
                AttemptState.COMMITTED,
                "; ".join(outcome.warnings) or None,
                node=outcome.node,
                pid=outcome.pid,
                seconds=outcome.seconds,
                cpu_s=outcome.cpu_s,
                gpu_s=outcome.gpu_s,
                max_rss=outcome.max_rss,
            )
            self._write_outcome(connection, claim.key, outcome)
            summary = {
                "attempt": claim.epoch,
                "seconds": round(outcome.seconds, 3),
                "digest": outcome.digest,
            }
            append_events(connection, run_id, [Event("step.succeeded", claim.key, summary)])
            finish_cells(connection, run_id, finished, StepState.SUCCEEDED)
        return True

    def adopt(
        self,
        run_id: str,
        key: str,
        twin: StepRow,
        input_digests: Mapping[str, str],
        finished: Sequence[CellKey] = (),
    ) -> bool:
        """Take over the outcome of a step that did the same work; False if no longer pending."""
        with self.database.write() as connection:
            take = (
                update(_steps)
                .where(_steps.c.key == key, _steps.c.state == "pending")
                .values(
                    state="succeeded",
                    reason=f"same inputs as step {twin.key[:12]}",
                    content_key=twin.content_key,
                    output_digest=twin.output_digest,
                    output_bytes=twin.output_bytes,
                    updated_at=now(),
                )
            )
            if connection.execute(take).rowcount != 1:
                return False
            if twin.key != key:
                _copy_reports(connection, twin.key, key)
            _set_input_digests(connection, key, input_digests)
            reused = Event("step.reused", key, {"from": twin.key, "digest": twin.output_digest})
            append_events(connection, run_id, [reused])
            finish_cells(connection, run_id, finished, StepState.SUCCEEDED)
        return True

    def fail(
        self,
        run_id: str,
        claim: Claim,
        failure: FailureClass,
        message: str,
        retry_in_s: float | None = None,
    ) -> bool:
        """End an attempt as failed; the step goes back to pending if it is tried again."""
        state = StepState.FAILED if retry_in_s is None else StepState.PENDING
        with self.database.write() as connection:
            if not self._leave_running(
                connection, claim, state=state, failure=failure, message=message
            ):
                self._lose(connection, run_id, claim)
                return False
            self._close_attempt(
                connection, claim.key, claim.epoch, AttemptState.FAILED, message, failure=failure
            )
            payload = {"attempt": claim.epoch, "failure": failure, "message": message}
            kind = "step.failed" if retry_in_s is None else "step.retry"
            if retry_in_s is not None:
                payload["retry_in_s"] = retry_in_s
            append_events(connection, run_id, [Event(kind, claim.key, payload)])
        return True

    def release(
        self, run_id: str, claims: Iterable[Claim], why: str, state: StepState = StepState.PENDING
    ) -> None:
        """Give claimed steps back unfinished (interrupt, cancel, bad input)."""
        with self.database.write() as connection:
            for claim in claims:
                if self._leave_running(connection, claim, state=state, reason=why):
                    self._close_attempt(connection, claim.key, claim.epoch, AttemptState.LOST, why)
                    event = Event("step.released", claim.key, {"attempt": claim.epoch, "why": why})
                    append_events(connection, run_id, [event])

    def move(
        self,
        run_id: str,
        keys: Collection[str],
        state: StepState,
        reason: str,
        come_from: Collection[StepState] = (StepState.PENDING,),
    ) -> list[str]:
        """Move steps that nobody runs: block, cancel, or back to pending. Returns those moved."""
        moved = []
        with self.database.write() as connection:
            for chunk in _chunks(keys):
                change = (
                    update(_steps)
                    .where(_steps.c.key.in_(chunk), _steps.c.state.in_(list(come_from)))
                    .values(state=state, reason=reason, updated_at=now())
                    .returning(_steps.c.key)
                )
                moved += list(connection.scalars(change))
            events = [Event(f"step.{state}", key, {"reason": reason}) for key in sorted(moved)]
            append_events(connection, run_id, events)
        return moved

    def invalidate(self, run_id: str, key: str, reason: str) -> bool:
        """Send a succeeded step back to pending: its artifact is gone, bad or unwanted."""
        return bool(self.move(run_id, [key], StepState.PENDING, reason, [StepState.SUCCEEDED]))

    def _rows(
        self, column: Any, values: Collection[str], *conditions: ColumnElement[bool]
    ) -> Iterator[StepRow]:
        with self.database.read() as connection:
            for chunk in _chunks(values):
                query = select(*_ROW_COLUMNS, _expired()).where(column.in_(chunk), *conditions)
                yield from map(_step_row, connection.execute(query).all())

    def _leave_running(self, connection: Connection, claim: Claim, **values: Any) -> bool:
        """Change a step if this owner's claim is still the newest."""
        mine = and_(
            _steps.c.key == claim.key,
            _steps.c.epoch == claim.epoch,
            _steps.c.owner == self.owner,
            _steps.c.state == "running",
        )
        change = update(_steps).where(mine).values(lease_until=None, updated_at=now(), **values)
        return connection.execute(change).rowcount == 1

    def _close_attempt(
        self,
        connection: Connection,
        key: str,
        n: int,
        state: AttemptState,
        message: str | None,
        **values: Any,
    ) -> None:
        connection.execute(
            update(_attempts)
            .where(_attempts.c.step_key == key, _attempts.c.n == n, _attempts.c.state == "running")
            .values(state=state, ended_at=now(), message=message, **values)
        )

    def _lose(self, connection: Connection, run_id: str, claim: Claim) -> None:
        why = "the lease was taken over by another owner"
        self._close_attempt(connection, claim.key, claim.epoch, AttemptState.LOST, why)
        lost = Event("step.lost", claim.key, {"attempt": claim.epoch, "why": why})
        append_events(connection, run_id, [lost])

    def _write_outcome(self, connection: Connection, key: str, outcome: Outcome) -> None:
        artifact = {"digest": outcome.digest, "bytes": outcome.size, "files": outcome.files}
        self.database.insert_new(
            connection,
            schema.artifacts,
            [{**artifact, "created_at": connection.scalar(select(now()))}],
        )
        _set_input_digests(connection, key, outcome.input_digests)
        write_measurements(connection, key, outcome.metrics, outcome.scores, outcome.curves)


def finish_cells(
    connection: Connection,
    run_id: str,
    finished: Sequence[CellKey],
    state: StepState,
    why: str = "",
) -> None:
    """Set the final state of cells, tell it, and leave word for the trackers."""
    if not finished:
        return
    cells = schema.cells
    mine = and_(
        cells.c.run_id == run_id,
        cells.c.cell_id == bindparam("cell"),
        cells.c.seed == bindparam("of_seed"),
    )
    rows = [{"cell": cell.cell_id, "of_seed": cell.seed} for cell in finished]
    connection.execute(update(cells).where(mine).values(state=state), rows)
    payloads = [
        {"cell": cell.cell_id, "seed": cell.seed, **({"why": why} if why else {})}
        for cell in finished
    ]
    told = [Event(f"cell.{state}", None, payload) for payload in payloads]
    append_events(connection, run_id, told)
    post(connection, run_id, "cell.finished", *({**each, "state": state} for each in payloads))


def _step_row(row: Any) -> StepRow:
    *values, expired = row
    found = dict(zip((column.name for column in _ROW_COLUMNS), values, strict=True))
    found["state"] = StepState(found["state"])
    return StepRow(**found, lease_expired=bool(expired))


def _expired() -> ColumnElement[bool]:
    return func.coalesce(_steps.c.lease_until < now(), True).label("expired")


def _chunks(values: Collection[str]) -> Iterator[list[str]]:
    rest = iter(values)
    while chunk := list(islice(rest, KEYS_PER_QUERY)):
        yield chunk


def _set_input_digests(connection: Connection, key: str, digests: Mapping[str, str]) -> None:
    table = schema.step_inputs
    for name, digest in digests.items():
        mine = and_(table.c.step_key == key, table.c.name == name)
        connection.execute(update(table).where(mine).values(digest=digest))


def _copy_reports(connection: Connection, source: str, target: str) -> None:
    """Give a reused step the metrics, scores and curves of the step it reuses."""
    for table in (schema.metrics, schema.sample_scores, schema.curves):
        connection.execute(delete(table).where(table.c.step_key == target))
        names = [column.name for column in table.c if column.name not in ("id", "step_key")]
        rows = select(literal(target), *(table.c[name] for name in names))
        copied = rows.where(table.c.step_key == source)
        connection.execute(insert(table).from_select(["step_key", *names], copied))
