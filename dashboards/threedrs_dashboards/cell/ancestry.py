"""The steps behind a cell's numbers: what they ran, on what, and what they made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select

from threedrs_dashboards.step_names import step_name
from threedrs_dashboards.tables import Table
from threedrs_platform.database.connection import Database
from threedrs_platform.database.lineage import AttemptRow, attempts_of
from threedrs_platform.database.measurements import CellResult
from threedrs_platform.database.schema import step_inputs, steps


@dataclass(frozen=True)
class Ancestor:
    """One step of a cell."""

    role: str
    kind: str
    label: str
    key: str
    state: str
    reads: tuple[str, ...]
    """Names of the steps whose output it reads."""
    code: str
    """Digest of the project code that it runs."""
    output: str
    """Digest of what it made; empty before it has."""
    output_bytes: int | None
    attempts: tuple[AttemptRow, ...]

    @property
    def name(self) -> str:
        """The step on the page."""
        return step_name(self.role, self.label)

    @property
    def canonical(self) -> AttemptRow | None:
        """The attempt whose output counts, else the last one."""
        done = [each for each in self.attempts if each.state == "committed"]
        return next(iter(reversed(done or list(self.attempts))), None)


def ancestry(database: Database, cell: CellResult) -> list[Ancestor]:
    """All steps of a cell, inputs before what reads them."""
    roles = {step.key: step.role for step in cell.steps}
    keys = list(roles)
    wanted = (steps.c.key, steps.c.kind, steps.c.label, steps.c.state, steps.c.recipe_json,
              steps.c.output_digest, steps.c.output_bytes)  # fmt: skip
    links = select(step_inputs.c.step_key, step_inputs.c.input_key)
    with database.read() as connection:
        rows = connection.execute(select(*wanted).where(steps.c.key.in_(keys))).all()
        inputs = connection.execute(links.where(step_inputs.c.step_key.in_(keys))).all()
    tries = attempts_of(database, keys)
    reads: dict[str, list[str]] = {}
    for link in inputs:
        reads.setdefault(link.step_key, []).append(link.input_key)
    names = {row.key: step_name(roles[row.key], row.label) for row in rows}
    found = [
        Ancestor(
            role=roles[row.key],
            kind=row.kind,
            label=row.label,
            key=row.key,
            state=row.state,
            reads=tuple(sorted(names.get(key, key[:12]) for key in reads.get(row.key, ()))),
            code=json.loads(row.recipe_json).get("code", ""),
            output=row.output_digest or "",
            output_bytes=row.output_bytes,
            attempts=tries.get(row.key, ()),
        )
        for row in rows
    ]
    depths = _depths(reads)
    return sorted(found, key=lambda step: (depths.get(step.key, 0), step.role))


def _depths(reads: Mapping[str, list[str]]) -> dict[str, int]:
    """Length of the longest chain of inputs before each step."""
    depths: dict[str, int] = {}

    def depth(key: str) -> int:
        if key not in depths:
            depths[key] = 1 + max((depth(each) for each in reads.get(key, ())), default=-1)
        return depths[key]

    for key in reads:
        depth(key)
    return depths


def ancestry_table(found: list[Ancestor]) -> Table:
    """Full keys and digests."""
    rows = [
        (step.role, step.kind, step.label, step.key, step.state, " ".join(step.reads), step.code,
         step.output, step.output_bytes, len(step.attempts))
        for step in found
    ]  # fmt: skip
    return Table(
        ("role", "kind", "label", "key", "state", "reads", "code", "output", "bytes", "attempts"),
        rows,
    )
