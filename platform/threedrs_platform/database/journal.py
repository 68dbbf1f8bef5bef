"""The memory of all steps: who may work on one, what came of it, and every attempt.

A step is claimed under a lease with an epoch; only the holder of the newest epoch can commit, in
one transaction with everything the step reported. Execution may happen more than once, a commit
happens once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, update

from threedrs_platform.database import schema
from threedrs_platform.database.claims import CellKey, Claim, Outcome, Start
from threedrs_platform.database.connection import Database, now
from threedrs_platform.database.events import Event, append_events
from threedrs_platform.database.journal_statements import (
    BEGIN_ATTEMPT,
    CUT_ATTEMPT,
    FAIL,
    HELD,
    LEASE_OF,
    RELEASE,
    SET_INPUT,
    TAKE,
    TAKE_PENDING,
)
from threedrs_platform.database.journal_writes import (
    copy_reports,
    end_attempt,
    finish_cells,
    input_rows,
    same_inputs,
    write_outcomes,
)
from threedrs_platform.database.owners import is_at_work, is_dead, this_owner
from threedrs_platform.database.prepared import Prepared
from threedrs_platform.database.step_rows import StepReader, StepRow, chunks
from threedrs_platform.database.turns import whole_turn
from threedrs_platform.shown_urls import without_secrets
from threedrs_platform.states import AttemptState, FailureClass, StepState

_steps = schema.steps

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
            lease = LEASE_OF.run(connection, mine).scalar() if is_running else None
            if not dead and seen is not None and self._is_renewed(seen, lease, lease_s):
                return None
            epoch = TAKE.run(connection, mine).scalar()
            if epoch is None:
                return None
            if seen is not None and is_running:
                lost = Claim(key, seen.epoch)
                end_attempt(connection, lost, AttemptState.LOST, "owner lost")
                # Its owner may have been dead for days, and these are not what it took.
                connection.execute(
                    CUT_ATTEMPT, {"step": key, "claimed": seen.epoch, "lease": lease}
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
            taken = TAKE_PENDING.run(connection, starts, me=self.owner, lease_s=lease_s)
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
        BEGIN_ATTEMPT.run_many(connection, attempts)
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
            found = HELD.run(connection, keys, me=self.owner)  # locked until the transaction ends
            held = {Claim(key, epoch) for key, epoch in found}
            done = {claim: each for claim, each in outcomes.items() if claim in held}
            write_outcomes(self.database, connection, self.owner, done)
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
                copy_reports(connection, twin.key, key)
            SET_INPUT.run_many(connection, input_rows(key, input_digests))
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
            if not self._leave(connection, run_id, claim, FAIL, told):
                return False
            end_attempt(connection, claim, AttemptState.FAILED, message, failure)
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
                if self._leave(connection, run_id, claim, RELEASE, told):
                    end_attempt(connection, claim, AttemptState.LOST, why)
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
        end_attempt(connection, claim, AttemptState.LOST, why)
        lost = Event("step.lost", claim.key, {"attempt": claim.epoch, "why": why})
        append_events(connection, run_id, [lost])
