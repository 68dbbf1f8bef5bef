"""From a number back to everything it came from: steps, code, inputs, attempts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from threedrs_platform.database.acceptances import Acceptance, Acceptances, accepted_why
from threedrs_platform.database.connection import Database
from threedrs_platform.database.kept_json import kept_object
from threedrs_platform.database.schema import attempts, step_inputs, steps
from threedrs_platform.database.turns import whole_turn
from threedrs_platform.states import AttemptState, StepState


@dataclass(frozen=True)
class AttemptRow:
    """One execution of a step."""

    n: int
    run_id: str
    state: AttemptState
    node: str
    seconds: float | None
    cpu_s: float | None
    max_rss: int | None
    failure: str
    message: str
    note: str
    log_file: str
    started_at: float | None = None
    """Seconds since 1970."""


@dataclass(frozen=True)
class TracedStep:
    """One step behind a number."""

    key: str
    kind: str
    label: str
    state: StepState
    output_digest: str | None
    content_key: str | None
    canonical_attempt: int | None
    code: str
    """Digest of the project code that the step runs."""
    packages: Mapping[str, str]
    params: Mapping[str, Any]
    inputs: Mapping[str, str]
    """Input name -> key of the step that made it."""
    attempts: tuple[AttemptRow, ...]
    acceptance: Acceptance | None = None
    """Set where results of older code stand for this step."""


def lineage(database: Database, key: str) -> tuple[TracedStep, ...]:
    """A step and all it reads from, inputs first."""
    found: dict[str, TracedStep] = {}

    def visit(wanted: str) -> None:
        step = trace_step(database, wanted)
        for upstream in step.inputs.values():
            if upstream not in found:
                visit(upstream)
        found.setdefault(wanted, step)

    visit(key)
    return tuple(found.values())


@whole_turn
def trace_step(database: Database, key: str) -> TracedStep:
    """One step with its inputs and attempts."""
    inputs = select(step_inputs).where(step_inputs.c.step_key == key).order_by(step_inputs.c.name)
    with database.read() as connection:
        row = connection.execute(select(steps).where(steps.c.key == key)).one()
        reads = {each.name: each.input_key for each in connection.execute(inputs)}
    acceptances = Acceptances(database).in_force([key])
    recipe = kept_object(row.recipe_json, "a recipe")
    return TracedStep(
        key=row.key,
        kind=row.kind,
        label=row.label,
        state=StepState(row.state),
        output_digest=row.output_digest,
        content_key=row.content_key,
        canonical_attempt=row.canonical_attempt,
        code=recipe.get("code", ""),
        packages=recipe.get("packages", {}),
        params=recipe.get("params", {}),
        inputs=reads,
        attempts=attempts_of(database, [key]).get(key, ()),
        acceptance=acceptances.get(key) if accepted_why(row.reason) else None,
    )


@whole_turn
def attempts_of(database: Database, keys: Sequence[str]) -> dict[str, tuple[AttemptRow, ...]]:
    """Attempts of steps, in every run, oldest first."""
    query = select(attempts).where(attempts.c.step_key.in_(keys)).order_by(attempts.c.n)
    found: dict[str, list[AttemptRow]] = {}
    with database.read() as connection:
        for row in connection.execute(query):
            found.setdefault(row.step_key, []).append(
                AttemptRow(
                    n=row.n,
                    run_id=row.run_id,
                    state=AttemptState(row.state),
                    node=row.node or "",
                    seconds=row.seconds,
                    cpu_s=row.cpu_s,
                    max_rss=row.max_rss,
                    failure=row.failure or "",
                    message=row.message or "",
                    note=row.note or "",
                    log_file=row.log_file or "",
                    started_at=row.started_at,
                )
            )
    return {key: tuple(rows) for key, rows in found.items()}


@whole_turn
def newest_artifacts(database: Database, limit: int) -> list[str]:
    """Digests of what the last steps that succeeded have made."""
    query = (
        select(steps.c.output_digest)
        .where(steps.c.state == "succeeded", steps.c.output_digest.is_not(None))
        .order_by(steps.c.updated_at.desc())
        .limit(limit)
    )
    with database.read() as connection:
        return [str(digest) for digest in connection.scalars(query)]
