"""Cells as the viewer sees them: which there are, and the artifacts of their steps."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select
from starlette.requests import Request

from threedrs_dashboards.query import number
from threedrs_dashboards.viewer.missing import Missing
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.database.connection import Database
from threedrs_platform.database.schema import cell_steps, cells, steps
from threedrs_platform.states import StepState
from threedrs_platform.store.artifacts import ArtifactStore

PROBE, TEACHER_PROBE = "probe", "probe_teacher"
"""Roles of the steps that hold correspondence scores of the student and of its teacher."""


@dataclass(frozen=True)
class CellChoice:
    """One cell of a run and its seeds."""

    cell_id: str
    title: str
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class ViewedCell:
    """One cell under one seed, with those of its steps that have succeeded."""

    run_id: str
    cell_id: str
    seed: int
    title: str
    params: Mapping[str, Any] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    """Role -> step key."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Role -> digest of what the step made."""
    planned: frozenset[str] = frozenset()
    """Roles of all its steps, finished or not."""

    @property
    def student_role(self) -> str:
        """The step that makes the student: where nothing is trained, that of its start."""
        return "finetune" if "finetune" in self.planned else "pretrain"

    def folder(self, role: str, store: ArtifactStore) -> Path:
        """The artifact of a step, verified.

        Raises:
            Missing: the step has not succeeded, or there is no such step.
            ArtifactError: the store no longer holds what the step made.
        """
        if role not in self.digests:
            raise Missing(
                f"{self.title} (seed {self.seed}) has no finished step {role!r}; "
                f"`workflows status {self.run_id}` tells why"
            )
        return _checked_out(store, self.digests[role])


_checked: dict[tuple[str, str], Path] = {}


def _checked_out(store: ArtifactStore, digest: str) -> Path:
    """Verified once per server: a look at every file of a world takes longer than a page."""
    folder = _checked.get((store.url, digest))
    if folder is None or not folder.is_dir():
        folder = _checked[store.url, digest] = store.checkout(digest)
    return folder


def list_cells(database: Database, run_id: str) -> list[CellChoice]:
    """Cells of a run in grid order."""
    query = (
        select(cells.c.cell_id, cells.c.name, cells.c.label, cells.c.seed)
        .where(cells.c.run_id == run_id)
        .order_by(cells.c.position, cells.c.seed)
    )
    titles: dict[str, str] = {}
    seeds: dict[str, list[int]] = {}
    with database.read() as connection:
        for row in connection.execute(query):
            titles.setdefault(row.cell_id, row.label or row.name or row.cell_id)
            seeds.setdefault(row.cell_id, []).append(row.seed)
    return [CellChoice(key, titles[key], tuple(sorted(seeds[key]))) for key in titles]


def view_cells(
    database: Database, run_id: str, wanted: Sequence[tuple[str, int]]
) -> list[ViewedCell]:
    """Cells under the given seeds, in the order asked for.

    Raises:
        Missing: the run has no such cell or seed.
    """
    ids = sorted({cell_id for cell_id, _ in wanted})
    of_run = select(cells).where(cells.c.run_id == run_id, cells.c.cell_id.in_(ids))
    of_cells = (
        select(cell_steps.c.cell_id, cell_steps.c.seed, cell_steps.c.role, steps.c.key,
               steps.c.output_digest, steps.c.state)
        .join(steps, steps.c.key == cell_steps.c.step_key)
        .where(cell_steps.c.run_id == run_id, cell_steps.c.cell_id.in_(ids))
    )  # fmt: skip
    with database.read() as connection:
        rows = {(row.cell_id, row.seed): row for row in connection.execute(of_run)}
        planned = connection.execute(of_cells).all()
    found = []
    for cell_id, seed in wanted:
        row = rows.get((cell_id, seed))
        if row is None:
            known = [f"{known_id} (seed {known_seed})" for known_id, known_seed in rows]
            hint = f"; there are {', '.join(known)}" if known else ""
            raise Missing(f"run {run_id} has no cell {cell_id!r} with seed {seed}{hint}")
        mine = [each for each in planned if (each.cell_id, each.seed) == (cell_id, seed)]
        done = [each for each in mine if each.state == StepState.SUCCEEDED]
        found.append(
            ViewedCell(
                run_id,
                cell_id,
                seed,
                row.label or row.name or cell_id,
                json.loads(row.params_json),
                {each.role: each.key for each in done},
                {each.role: each.output_digest for each in done if each.output_digest},
                frozenset(each.role for each in mine),
            )
        )
    return found


def choose_seed(request: Request, seeds: Sequence[int], known: Sequence[CellChoice]) -> int:
    """The seed of a URL; the first one where this cell lacks a seed that others have.

    Raises:
        Missing: no cell has it.
    """
    seed = number(request, "seed", seeds[0], low=-(10**9))
    if seed in seeds:
        return seed
    every = {each for cell in known for each in cell.seeds}
    if seed not in every:
        raise Missing(
            f"no cell has the seed {seed}; there are {', '.join(map(str, sorted(every)))}"
        )
    return seeds[0]


def choose_cell(known: Sequence[CellChoice], wanted: str, run_id: str) -> CellChoice:
    """The cell with this id.

    Raises:
        Missing: the run has none.
    """
    for choice in known:
        if choice.cell_id == wanted:
            return choice
    guess = did_you_mean(wanted, [choice.cell_id for choice in known])
    raise Missing(f"run {run_id} has no cell {wanted!r}{guess}")
