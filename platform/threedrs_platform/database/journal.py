"""The memory of all steps: who may work on one, what came of it, and every attempt.

A step is claimed under a lease with an epoch; only the holder of the newest epoch can commit, in
one transaction with everything the step reported. Execution may happen more than once, a commit
happens once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, insert, literal, or_, select, update

from threedrs_platform.compute.recorder import CurvePoint
from threedrs_platform.database import schema
from threedrs_platform.database.acceptances import SAME_INPUTS
from threedrs_platform.database.connection import Database, now
from threedrs_platform.database.events import Event, append_events, post
from threedrs_platform.database.owners import is_at_work, is_dead, this_owner
from threedrs_platform.database.prepared import Prepared
from threedrs_platform.database.results import write_measurements
from threedrs_platform.database.step_rows import Lookup, StepReader, StepRow, chunks
from threedrs_platform.database.turns import whole_turn
from threedrs_platform.records import Metric, SampleScore
from threedrs_platform.shown_urls import without_secrets
from threedrs_platform.states import AttemptState, FailureClass, StepState

_steps, _attempts, _inputs = schema.steps, schema.attempts, schema.step_inputs


@dataclass(frozen=True)
class Claim:
    """The right to commit one step, as long as no newer epoch exists."""

    key: str
    epoch: int


@dataclass(frozen=True)
class Start:
    """What is written down of an attempt that is about to begin."""

    log_file: str
    """With `{attempt}` for its number."""
    note: str = ""
    """Why it is not the first; empty if it is."""

    def log_of(self, claim: Claim) -> str:
        """The log file of the attempt under a claim."""
        return self.log_file.replace("{attempt}", str(claim.epoch))


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
    """A cell of a run, under one seed."""

    cell_id: str
    seed: int


_ADOPTABLE = (StepState.PENDING, StepState.FAILED, StepState.BLOCKED, StepState.CANCELLED)
"""States of steps that have no outcome and nobody at work: one that was given up may take over the
outcome of another."""


class Journal(StepReader):
    """The steps of one database, seen and changed by one owner."""

    def __init__(self, database: Database, owner: str | None = None) -> None:
        super().__init__(database)
        self.owner = owner or str(this_owner())
        self._watched: dict[str, tuple[float | None, float]] = {}
        """Step key -> end of its lease when it was first seen so, and when that was (monotonic)."""

    @whole_turn
    def claim(
        self,
        run_id: str,
        key: str,
        lease_s: float,
        log_file: str = "",
        note: str = "",
        seen: StepRow | None = None,
    ) -> Claim | None:
        """Take a pending or abandoned step; None if it is held, done or given up.

        Args:
            log_file: of the attempt, with `{attempt}` for its number.
            seen: the step's row, where it is known already.
        """
        seen = seen or self.rows([key]).get(key)
        # The statement names the dead owner: a step that another one took meanwhile is left alone.
        dead = seen.owner if seen is not None and is_dead(seen.owner) else ""
        mine = {"step": key, "me": self.owner, "dead": dead, "lease_s": lease_s}
        with self.database.write() as connection:
            is_running = seen is not None and seen.state is StepState.RUNNING
            lease = _LEASE_OF.run(connection, mine).scalar() if is_running else None
            if not dead and seen is not None and self._is_renewed(seen, lease, lease_s):
                return None
            epoch = _TAKE.run(connection, mine).scalar()
            if epoch is None:
                return None
            if seen is not None and is_running:
                lost = Claim(key, seen.epoch)
                _end_attempt(connection, lost, AttemptState.LOST, "owner lost")
                # Its owner may have been dead for days, and these are not what it took.
                connection.execute(
                    _CUT_ATTEMPT, {"step": key, "claimed": seen.epoch, "lease": lease}
                )
            self._begin(connection, run_id, {Claim(key, epoch): Start(log_file, note)})
        return Claim(key, epoch)

    @whole_turn
    def claim_pending(
        self, run_id: str, starts: Mapping[str, Start], lease_s: float
    ) -> dict[str, Claim]:
        """Take all of these steps that are pending still, as `claim` takes one; by key."""
        if not starts:
            return {}
        with self.database.write() as connection:
            taken = _TAKE_PENDING.run(connection, starts, me=self.owner, lease_s=lease_s)
            epochs = {key: epoch for key, epoch in taken}
            claims = {key: Claim(key, epochs[key]) for key in starts if key in epochs}
            self._begin(connection, run_id, {claims[key]: starts[key] for key in claims})
        return claims

    def _begin(self, connection: Connection, run_id: str, begun: Mapping[Claim, Start]) -> None:
        """Write down attempts that are about to begin."""
        attempts = [
            {
                "step_key": claim.key,
                "n": claim.epoch,
                "run_id": run_id,
                "owner": self.owner,
                "state": AttemptState.RUNNING,
                "log_file": start.log_of(claim),
                "note": start.note,
            }
            for claim, start in begun.items()
        ]
        _BEGIN_ATTEMPT.run_many(connection, attempts)
        told = [
            Event("step.started", claim.key, {"attempt": claim.epoch, "note": start.note})
            for claim, start in begun.items()
        ]
        append_events(connection, run_id, told)

    def _is_renewed(self, seen: StepRow, lease: float | None, lease_s: float) -> bool:
        """Whether a running step's lease may still be renewed although the clock says it is over.

        SQLite's clock is each client's own, and one of them may be wrong or jump. So an owner that
        is at work on this machine has lost its lease only when it was not renewed for as long.
        """
        if not self.database.is_sqlite or seen.state is not StepState.RUNNING:
            return False
        if not is_at_work(seen.owner):
            return False
        at = time.monotonic()
        if self._watched.get(seen.key, (None, 0.0))[0] != lease:
            self._watched[seen.key] = (lease, at)
        return at - self._watched[seen.key][1] < lease_s

    @whole_turn
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

    @whole_turn
    def commit(
        self, run_id: str, claim: Claim, outcome: Outcome, finished: Sequence[CellKey] = ()
    ) -> bool:
        """Make an attempt's outcome the step's, with all it reported; False if the claim is stale.

        Args:
            finished: cells of the run that are complete with this step.
        """
        return claim in self.commit_all(run_id, {claim: outcome}, lambda _: finished)

    @whole_turn
    def commit_all(
        self,
        run_id: str,
        outcomes: Mapping[Claim, Outcome],
        finishing: Callable[[Claim], Sequence[CellKey]],
    ) -> set[Claim]:
        """As `commit`, for several attempts at once. Returns the claims that were not stale.

        Args:
            finishing: cells of the run that are complete with a step and those before it; called
                once for each that is committed.
        """
        with self.database.write() as connection:
            keys = [claim.key for claim in outcomes]
            found = _HELD.run(connection, keys, me=self.owner)  # locked until the transaction ends
            held = {Claim(key, epoch) for key, epoch in found}
            done = {claim: each for claim, each in outcomes.items() if claim in held}
            self._write_outcomes(connection, done)
            for claim in outcomes:
                if claim not in done:
                    self._tell_lost(connection, run_id, claim)
                    continue
                summary = {
                    "attempt": claim.epoch,
                    "seconds": round(outcomes[claim].seconds, 3),
                    "digest": outcomes[claim].digest,
                }
                append_events(connection, run_id, [Event("step.succeeded", claim.key, summary)])
                finish_cells(connection, run_id, finishing(claim), StepState.SUCCEEDED)
        return set(done)

    @whole_turn
    def adopt(
        self,
        run_id: str,
        key: str,
        twin: StepRow,
        input_digests: Mapping[str, str],
        finished: Sequence[CellKey] = (),
        reason: str = "",
    ) -> bool:
        """Take over the outcome of a step that did the same work; False if the step is running or
        done: whatever it yields is its own."""
        reason = reason or same_inputs(twin)
        with self.database.write() as connection:
            take = (
                update(_steps)
                .where(_steps.c.key == key, _steps.c.state.in_(_ADOPTABLE))
                .values(
                    state="succeeded",
                    failure=None,
                    message=None,
                    reason=reason,
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
            _SET_INPUT.run_many(connection, _input_rows(key, input_digests))
            reused = Event("step.reused", key, {"from": twin.key, "digest": twin.output_digest})
            append_events(connection, run_id, [reused])
            finish_cells(connection, run_id, finished, StepState.SUCCEEDED)
        return True

    @whole_turn
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
        message = without_secrets(message)
        told = {"new_state": state, "why_class": failure, "why": message}
        with self.database.write() as connection:
            if not self._leave(connection, run_id, claim, _FAIL, told):
                return False
            _end_attempt(connection, claim, AttemptState.FAILED, message, failure)
            payload = {"attempt": claim.epoch, "failure": failure, "message": message}
            kind = "step.failed" if retry_in_s is None else "step.retry"
            if retry_in_s is not None:
                payload["retry_in_s"] = retry_in_s
            append_events(connection, run_id, [Event(kind, claim.key, payload)])
        return True

    @whole_turn
    def release(
        self, run_id: str, claims: Iterable[Claim], why: str, state: StepState = StepState.PENDING
    ) -> None:
        """Give claimed steps back unfinished (interrupt, cancel, bad input)."""
        why = without_secrets(why)
        told = {"new_state": state, "why": why}
        with self.database.write() as connection:
            for claim in claims:
                if self._leave(connection, run_id, claim, _RELEASE, told):
                    _end_attempt(connection, claim, AttemptState.LOST, why)
                    event = Event("step.released", claim.key, {"attempt": claim.epoch, "why": why})
                    append_events(connection, run_id, [event])

    @whole_turn
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
            for chunk in chunks(keys):
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

    def _leave(
        self,
        connection: Connection,
        run_id: str,
        claim: Claim,
        statement: Prepared,
        values: Mapping[str, Any],
    ) -> bool:
        """Change a step if this owner's claim is still the newest; else the attempt is lost."""
        mine = {"step": claim.key, "claimed": claim.epoch, "me": self.owner}
        if statement.run(connection, {**mine, **values}).rowcount == 1:
            return True
        self._tell_lost(connection, run_id, claim)
        return False

    def _tell_lost(self, connection: Connection, run_id: str, claim: Claim) -> None:
        why = "the lease was taken over by another owner"
        _end_attempt(connection, claim, AttemptState.LOST, why)
        lost = Event("step.lost", claim.key, {"attempt": claim.epoch, "why": why})
        append_events(connection, run_id, [lost])

    def _write_outcomes(self, connection: Connection, outcomes: Mapping[Claim, Outcome]) -> None:
        """Write what came of steps whose rows are locked under these claims."""
        results, attempts, artifacts, inputs = [], [], {}, []
        for claim, outcome in outcomes.items():
            mine = {"step": claim.key, "claimed": claim.epoch}
            made = {"digest": outcome.digest, "size": outcome.size, "took": outcome.seconds}
            results.append({**mine, **made, "me": self.owner, "content": outcome.content_key})
            measured = {f"of_{name}": getattr(outcome, name) for name in _MEASURED}
            told = {"why_class": None, "why": "; ".join(outcome.warnings) or None}
            attempts.append({**mine, **measured, **told, "new_state": AttemptState.COMMITTED})
            files = {"bytes": outcome.size, "files": outcome.files}
            artifacts[outcome.digest] = {"digest": outcome.digest, **files}
            inputs += _input_rows(claim.key, outcome.input_digests)
        _SUCCEED.run_many(connection, results)
        _COMMIT_ATTEMPT.run_many(connection, attempts)
        made_of = list(artifacts.values())
        self.database.insert_new(connection, schema.artifacts, made_of, created_at=now())
        _SET_INPUT.run_many(connection, inputs)
        for claim, each in outcomes.items():
            reported = each.metrics or each.scores or each.curves
            if reported or claim.epoch > 1:  # a silent first attempt has nothing to replace, either
                write_measurements(connection, claim.key, each.metrics, each.scores, each.curves)


def same_inputs(twin: StepRow) -> str:
    """Why the outcome of a twin is taken over."""
    return f"{SAME_INPUTS}{twin.key[:12]}"


def finish_cells(
    connection: Connection,
    run_id: str,
    finished: Sequence[CellKey],
    state: StepState,
    why: str = "",
) -> None:
    """Set the final state of cells, as events and in the outbox, too."""
    payloads = []
    for cell in finished:
        row = {"run": run_id, "cell": cell.cell_id, "of_seed": cell.seed, "new_state": state}
        if _END_CELL.run(connection, row).rowcount:  # else another worker has told it
            payload = {"cell": cell.cell_id, "seed": cell.seed}
            payloads.append({**payload, "why": why} if why else payload)
    if not payloads:
        return
    told = [Event(f"cell.{state}", None, payload) for payload in payloads]
    append_events(connection, run_id, told)
    post(connection, run_id, "cell.finished", *({**each, "state": state} for each in payloads))


def _end_attempt(
    connection: Connection,
    claim: Claim,
    state: AttemptState,
    message: str,
    failure: FailureClass | None = None,
) -> None:
    told = {"new_state": state, "why": message, "why_class": failure}
    _END_ATTEMPT.run(connection, {"step": claim.key, "claimed": claim.epoch, **told})


def _input_rows(key: str, digests: Mapping[str, str]) -> list[dict[str, str]]:
    return [
        {"step": key, "input_name": name, "input_digest": digest}
        for name, digest in digests.items()
    ]


def _copy_reports(connection: Connection, source: str, target: str) -> None:
    """Give a reused step the metrics, scores and curves of the step it reuses."""
    for table in schema.MEASURED:
        # A step that is computed again after a refresh has reports of its own.
        connection.execute(delete(table).where(table.c.step_key == target))
        names = [column.name for column in table.c if column.name not in ("id", "step_key")]
        rows = select(literal(target), *(table.c[name] for name in names))
        copied = rows.where(table.c.step_key == source)
        connection.execute(insert(table).from_select(["step_key", *names], copied))


# The frequent statements are built once: composing one costs more than running it. Of a claim,
# `step` is the key and `claimed` the epoch; `me` is the owner.
_LEASE = now() + bindparam("lease_s")
_LEASE_OF = Prepared(select(_steps.c.lease_until).where(_steps.c.key == bindparam("step")))
_TAKEN = update(_steps).values(
    state="running",
    owner=bindparam("me"),
    epoch=_steps.c.epoch + 1,  # from here on the last owner, however alive, cannot commit
    lease_until=_LEASE,
    failure=None,
    message=None,
    updated_at=now(),
)
_TAKE_PENDING = Lookup.of(
    lambda among: _TAKEN.where(among, _steps.c.state == "pending").returning(
        _steps.c.key, _steps.c.epoch
    ),
    _steps.c.key,
)
_TAKE = Prepared(
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
_BEGIN_ATTEMPT = Prepared(
    insert(_attempts).values(started_at=now()),
    ["step_key", "n", "run_id", "owner", "state", "log_file", "note"],
)
_HELD = Lookup.of(
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
_SUCCEED = Prepared(
    _LEAVE.values(
        state="succeeded",
        content_key=bindparam("content"),
        output_digest=bindparam("digest"),
        output_bytes=bindparam("size"),
        seconds=bindparam("took"),
        canonical_attempt=bindparam("claimed"),
    )
)
_FAIL = Prepared(
    _LEAVE.values(
        state=bindparam("new_state"), failure=bindparam("why_class"), message=bindparam("why")
    )
)
_RELEASE = Prepared(_LEAVE.values(state=bindparam("new_state"), reason=bindparam("why")))
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
_END_ATTEMPT = Prepared(_ENDED)
_CUT_ATTEMPT = (
    update(_attempts)
    .where(
        _attempts.c.step_key == bindparam("step"),
        _attempts.c.n == bindparam("claimed"),
        _attempts.c.ended_at > bindparam("lease"),
    )
    .values(ended_at=bindparam("lease"))
)
_MEASURED = ("node", "pid", "seconds", "cpu_s", "gpu_s", "max_rss")
_COMMIT_ATTEMPT = Prepared(_ENDED.values({name: bindparam(f"of_{name}") for name in _MEASURED}))
_SET_INPUT = Prepared(
    update(_inputs)
    .where(_inputs.c.step_key == bindparam("step"), _inputs.c.name == bindparam("input_name"))
    .values(digest=bindparam("input_digest"))
)
_END_CELL = Prepared(
    update(schema.cells)
    .where(
        schema.cells.c.run_id == bindparam("run"),
        schema.cells.c.cell_id == bindparam("cell"),
        schema.cells.c.seed == bindparam("of_seed"),
        schema.cells.c.state != bindparam("new_state"),
    )
    .values(state=bindparam("new_state"))
)
