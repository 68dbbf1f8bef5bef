"""Cells x steps of a run, one page of cells at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, func, or_, select

from threedrs_dashboards.step_names import step_name
from threedrs_platform.database.connection import Database
from threedrs_platform.database.schema import attempts, cell_steps, cells, step_inputs, steps
from threedrs_platform.states import AttemptState, StepState

SYMBOLS: Mapping[str, str] = {
    StepState.SUCCEEDED: "✓",
    StepState.RUNNING: "▶",
    StepState.PENDING: "…",
    StepState.FAILED: "✗",
    StepState.BLOCKED: "⊘",
    StepState.CANCELLED: "⊖",
}
"""States told by shape, beside their colour."""


@dataclass(frozen=True)
class MatrixStep:
    """One step of one cell."""

    key: str
    label: str
    """Which of several steps of a kind, e.g. "teacher"."""
    state: str
    seconds: float | None
    cached: bool
    """Done, and not computed by this run."""
    cause: str

    @property
    def symbol(self) -> str:
        """Its state as a shape."""
        return SYMBOLS[self.state]


@dataclass(frozen=True)
class MatrixRow:
    """One cell under one seed."""

    cell_id: str
    seed: int
    title: str
    state: str
    steps: Mapping[str, MatrixStep]
    """By role."""


@dataclass(frozen=True)
class Matrix:
    """Some of a run's cells."""

    roles: tuple[str, ...]
    """Inputs before what reads them."""
    rows: tuple[MatrixRow, ...]

    def heading(self, role: str) -> str:
        """A role as people read it."""
        labels = {row.steps[role].label for row in self.rows if role in row.steps}
        return step_name(role, ", ".join(sorted(labels - {""})))


def count_cells(database: Database, run_id: str, state: str = "", words: str = "") -> int:
    """How many cells (each seed counts) are in a state and called like this."""
    query = _chosen(select(func.count()).select_from(cells), run_id, state, words)
    with database.read() as connection:
        return int(connection.scalar(query) or 0)


def matrix(
    database: Database,
    run_id: str,
    first: int,
    count: int,
    state: str = "",
    words: str = "",
) -> Matrix:
    """The cells from `first` on, in grid order.

    Args:
        state: only cells in this state.
        words: only cells whose name or label contains this.
    """
    page = _chosen(select(cells), run_id, state, words)
    page = page.order_by(cells.c.position, cells.c.seed).offset(first).limit(count)
    with database.read() as connection:
        cell_rows = connection.execute(page).all()
        ids = {row.cell_id for row in cell_rows}
        step_rows = connection.execute(_steps_of(run_id, ids)).all()
        keys = {row.key for row in step_rows}
        computed = set(connection.scalars(_computed(run_id, keys)))
        reads = select(step_inputs.c.step_key, step_inputs.c.input_key)
        inputs = connection.execute(reads.where(step_inputs.c.step_key.in_(keys))).all()
    by_cell: dict[tuple[str, int], dict[str, MatrixStep]] = {}
    for row in step_rows:
        by_cell.setdefault((row.cell_id, row.seed), {})[row.role] = _step(row, computed)
    rows = tuple(
        MatrixRow(
            row.cell_id,
            row.seed,
            row.label or row.name or row.cell_id,
            row.state,
            by_cell.get((row.cell_id, row.seed), {}),
        )
        for row in cell_rows
    )
    return Matrix(_roles(rows, [(each.step_key, each.input_key) for each in inputs]), rows)


def _chosen(query: Select[Any], run_id: str, state: str, words: str) -> Select[Any]:
    query = query.where(cells.c.run_id == run_id)
    if state:
        query = query.where(cells.c.state == state)
    if words:
        named = [
            column.contains(words, autoescape=True) for column in (cells.c.name, cells.c.label)
        ]
        query = query.where(or_(*named))
    return query


def _steps_of(run_id: str, ids: set[str]) -> Select[Any]:
    return (
        select(
            cell_steps.c.cell_id,
            cell_steps.c.seed,
            cell_steps.c.role,
            steps.c.key,
            steps.c.label,
            steps.c.state,
            steps.c.seconds,
            steps.c.message,
        )
        .join(steps, steps.c.key == cell_steps.c.step_key)
        .where(cell_steps.c.run_id == run_id, cell_steps.c.cell_id.in_(ids))
    )


def _computed(run_id: str, keys: set[str]) -> Select[Any]:
    mine = and_(attempts.c.run_id == run_id, attempts.c.state == AttemptState.COMMITTED)
    return select(attempts.c.step_key).where(mine, attempts.c.step_key.in_(keys)).distinct()


def _step(row: Any, computed: set[str]) -> MatrixStep:
    cause = (row.message or "").strip().splitlines()
    done = row.state == StepState.SUCCEEDED
    return MatrixStep(
        row.key,
        row.label,
        row.state,
        row.seconds,
        done and row.key not in computed,
        cause[0] if cause and row.state == StepState.FAILED else "",
    )


def _roles(rows: Sequence[MatrixRow], inputs: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Roles by the longest chain of inputs before them, then by name."""
    reads: dict[str, list[str]] = {}
    for key, input_key in inputs:
        reads.setdefault(key, []).append(input_key)
    depths: dict[str, int] = {}

    def depth(key: str) -> int:
        if key not in depths:
            depths[key] = 1 + max((depth(each) for each in reads.get(key, ())), default=0)
        return depths[key]

    roles: dict[str, int] = {}
    for row in rows:
        for role, step in row.steps.items():
            roles[role] = max(roles.get(role, 0), depth(step.key))
    return tuple(sorted(roles, key=lambda role: (roles[role], role)))
