"""The table of a run as text, kept until something that it is made of changes.

A submission that finds everything done, and whoever looks once more, sees the same numbers; with
thousands of cells, making the table costs more than all the rest of that look.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from sqlalchemy import select

from threedrs_platform.database.connection import Database
from threedrs_platform.database.kept_json import kept_object
from threedrs_platform.database.run_reader import OPTIONS
from threedrs_platform.database.schema import cell_steps, cells, runs, steps
from threedrs_platform.identity.canonical import canonical_json
from threedrs_platform.identity.recipes import sha256_text
from threedrs_platform.identity.source_code import CodeIndex
from threedrs_platform.storage import keep_memo
from threedrs_platform.workspace import Workspace

MAKERS = (
    "threedrs_workflows.reports.run_report:run_report",
    "threedrs_components.report.render:render",
    "threedrs_components.report.data:report_json",
)
RUN = "{run}"
"""Stands in a kept text for the id of the run that shows it."""
MOST_KEPT = 64
DATA = "data"
"""The style of `--json`."""


@dataclass(frozen=True)
class Look:
    """How somebody looks at a run: arguments of `run_report` and of `render`."""

    metrics: tuple[str, ...] = ()
    baseline: str | None = None
    where: str | None = None
    style: str = "table"
    """A format, or DATA."""
    pivot: bool = False
    width: int | None = None
    """Columns of the terminal; None for as many as the table needs."""
    shared: bool = False


AS_IT_IS = Look()


def table_text(workspace: Workspace, run_id: str, look: Look = AS_IT_IS) -> str:
    """The run's table, made anew only if its numbers, grid or code are new.

    Raises:
        ConfigError: the grid's report, or this look, asks for what the run has not.
    """
    own = "" if look.style in ("table", DATA) else run_id  # other formats write the id their way
    make = partial(_make, workspace.database, run_id, look)
    return kept_text(workspace, run_id, (look, own), MAKERS, make)


def kept_text(
    workspace: Workspace,
    run_id: str,
    asked: object,
    makers: Sequence[str],
    make: Callable[[], str],
) -> str:
    """A text that is made of a run's numbers, grid and code, and of nothing else.

    Args:
        asked: what it is, and every argument that changes it; told apart by its `repr`.
        makers: entry points of the code that makes it, as "module:function".
        make: makes it.
    """
    folder = workspace.root / "cache" / "tables"
    key = table_key(workspace.database, workspace.code, run_id, makers)
    kept = folder / f"{sha256_text(f'{key} {asked!r}')}.txt"
    if kept.is_file():
        return kept.read_text(encoding="utf-8").replace(RUN, run_id)
    text = make()
    if RUN not in text and workspace.root.is_dir():  # else a label with the mark would be the id
        keep_memo(kept, text.replace(run_id, RUN).encode())
        _forget_oldest(folder)
    return text


def table_key(
    database: Database, code: CodeIndex, run_id: str, makers: Sequence[str] = MAKERS
) -> str:
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
        options = connection.scalar(select(runs.c.options_json).where(runs.c.id == run_id))
    is_smoke = bool(kept_object(options, OPTIONS).get("smoke"))
    made_by = [code.digest(entry).modules for entry in makers]
    return sha256_text(canonical_json([made_by, found, is_smoke]))


def _make(database: Database, run_id: str, look: Look) -> str:
    from threedrs_components.report.data import report_json
    from threedrs_components.report.render import render
    from threedrs_workflows.reports.run_report import run_report

    report = run_report(database, run_id, look.metrics, look.baseline, look.where)
    if look.style == DATA:
        return json.dumps(report_json(report), ensure_ascii=False, default=str)
    return render(report, look.style, look.pivot, look.width, look.shared)


def _forget_oldest(folder: Path) -> None:
    with contextlib.suppress(OSError):  # another process forgets, too
        newest = sorted(folder.glob("*.txt"), key=lambda file: file.stat().st_mtime, reverse=True)
        for file in newest[MOST_KEPT:]:
            file.unlink(missing_ok=True)
