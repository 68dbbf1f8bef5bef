"""The table of a run as text, kept until something that it is made of changes.

A submission that finds everything done shows the table of the same numbers once more; with
thousands of scores behind it, making the table costs more than all the rest of that submission.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select

from threedrs_platform.database.connection import Database
from threedrs_platform.database.schema import cell_steps, cells, runs, steps
from threedrs_platform.identity.canonical import canonical_json
from threedrs_platform.identity.recipes import sha256_text
from threedrs_platform.identity.source_code import CodeIndex
from threedrs_platform.storage import write_atomically
from threedrs_platform.workspace import Workspace

MAKER = "threedrs_workflows.reports.run_report:run_report"
WRITER = "threedrs_components.report.render:render"
RUN = "{run}"
"""Stands in a kept text for the id of the run that shows it."""
MOST_KEPT = 64


def table_text(workspace: Workspace, run_id: str, width: int | None = None) -> str:
    """The run's table for a terminal, made anew only if its numbers, grid or code are new.

    Args:
        width: columns of the terminal; None for as many as the table needs.

    Raises:
        ConfigError: the grid's report asks for what the run has not.
    """
    folder = workspace.root / "cache" / "tables"
    key = table_key(workspace.database, workspace.code, run_id)
    kept = folder / f"{key}-{width or 'wide'}.txt"
    if kept.is_file():
        return kept.read_text().replace(RUN, run_id)
    text = _make(workspace.database, run_id, width)
    if RUN not in text:  # else a label that holds the mark would be taken for the run's id
        write_atomically(kept, text.replace(run_id, RUN).encode())
        _forget_oldest(folder)
    return text


def table_key(database: Database, code: CodeIndex, run_id: str) -> str:
    """Digest of all that a run's table is made of: code, grid, cells, and their steps' outputs."""
    link = (cell_steps.c.cell_id, cell_steps.c.seed, cell_steps.c.role, cell_steps.c.step_key)
    output = (steps.c.state, steps.c.output_digest, steps.c.canonical_attempt, steps.c.message)
    questions = (
        select(runs.c.name, runs.c.state, runs.c.grid_yaml).where(runs.c.id == run_id),
        select(*(column for column in cells.c if column is not cells.c.run_id))
        .where(cells.c.run_id == run_id)
        .order_by(cells.c.position, cells.c.cell_id, cells.c.seed),
        select(*link, *output)
        .join(steps, steps.c.key == cell_steps.c.step_key)
        .where(cell_steps.c.run_id == run_id)
        .order_by(*link[:3]),
    )
    with database.read() as connection:
        found = [[list(row) for row in connection.execute(question)] for question in questions]
    made_by = [code.digest(entry).modules for entry in (MAKER, WRITER)]
    return sha256_text(canonical_json([made_by, found]))


def _make(database: Database, run_id: str, width: int | None) -> str:
    from threedrs_components.report.render import render
    from threedrs_workflows.reports.run_report import run_report

    return render(run_report(database, run_id), "table", width=width, shared=False)


def _forget_oldest(folder: Path) -> None:
    newest = sorted(folder.glob("*.txt"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in newest[MOST_KEPT:]:
        file.unlink(missing_ok=True)
