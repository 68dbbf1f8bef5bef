"""What is written with a step's new state: outcomes, ends of attempts and cells, copied reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection, delete, insert, literal, select

from threedrs_platform.database import schema
from threedrs_platform.database.acceptances import SAME_INPUTS
from threedrs_platform.database.claims import CellKey, Claim, Outcome
from threedrs_platform.database.connection import Database, now
from threedrs_platform.database.events import Event, append_events, post
from threedrs_platform.database.journal_statements import (
    COMMIT_ATTEMPT,
    END_ATTEMPT,
    END_CELL,
    MEASURED,
    SET_INPUT,
    SUCCEED,
)
from threedrs_platform.database.results import write_measurements
from threedrs_platform.database.step_rows import StepRow
from threedrs_platform.states import AttemptState, FailureClass, StepState


def write_outcomes(
    database: Database, connection: Connection, owner: str, outcomes: Mapping[Claim, Outcome]
) -> None:
    """Write what came of steps whose rows are locked under these claims."""
    results, attempts, artifacts, inputs = [], [], {}, []
    for claim, outcome in outcomes.items():
        mine = {"step": claim.key, "claimed": claim.epoch}
        made = {"digest": outcome.digest, "size": outcome.size, "took": outcome.seconds}
        results.append({**mine, **made, "me": owner, "content": outcome.content_key})
        measured = {f"of_{name}": getattr(outcome, name) for name in MEASURED}
        told = {"why_class": None, "why": "; ".join(outcome.warnings) or None}
        attempts.append({**mine, **measured, **told, "new_state": AttemptState.COMMITTED})
        files = {"bytes": outcome.size, "files": outcome.files}
        artifacts[outcome.digest] = {"digest": outcome.digest, **files}
        inputs += input_rows(claim.key, outcome.input_digests)
    SUCCEED.run_many(connection, results)
    COMMIT_ATTEMPT.run_many(connection, attempts)
    made_of = list(artifacts.values())
    database.insert_new(connection, schema.artifacts, made_of, created_at=now())
    SET_INPUT.run_many(connection, inputs)
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
        if END_CELL.run(connection, row).rowcount:  # else another worker has told it
            payload = {"cell": cell.cell_id, "seed": cell.seed}
            payloads.append({**payload, "why": why} if why else payload)
    if not payloads:
        return
    told = [Event(f"cell.{state}", None, payload) for payload in payloads]
    append_events(connection, run_id, told)
    post(connection, run_id, "cell.finished", *({**each, "state": state} for each in payloads))


def end_attempt(
    connection: Connection,
    claim: Claim,
    state: AttemptState,
    message: str,
    failure: FailureClass | None = None,
) -> None:
    """Write how an attempt has ended that was open still."""
    told = {"new_state": state, "why": message, "why_class": failure}
    END_ATTEMPT.run(connection, {"step": claim.key, "claimed": claim.epoch, **told})


def input_rows(key: str, digests: Mapping[str, str]) -> list[dict[str, str]]:
    """What `SET_INPUT` is told of a step's inputs."""
    return [
        {"step": key, "input_name": name, "input_digest": digest}
        for name, digest in digests.items()
    ]


def copy_reports(connection: Connection, source: str, target: str) -> None:
    """Give a reused step the metrics, scores and curves of the step it reuses."""
    for table in schema.MEASURED:
        # A step that is computed again after a refresh has reports of its own.
        connection.execute(delete(table).where(table.c.step_key == target))
        names = [column.name for column in table.c if column.name not in ("id", "step_key")]
        rows = select(literal(target), *(table.c[name] for name in names))
        copied = rows.where(table.c.step_key == source)
        connection.execute(insert(table).from_select(["step_key", *names], copied))
