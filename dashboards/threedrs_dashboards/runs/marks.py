"""What tells one submission from another: what was asked, of which code, and how it came out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from threedrs_components.report.notation import plain
from threedrs_components.report.table import is_headline
from threedrs_dashboards.ablation.pivot import LOWER_IS_BETTER
from threedrs_dashboards.choices import HEADLINES
from threedrs_platform.database.connection import Database
from threedrs_platform.database.grid_choice import grid_choice
from threedrs_platform.database.measurements import RunSummary
from threedrs_platform.database.schema import cell_steps, cells, metrics, runs

SHOWN_DIGITS = 10
"""Of a commit."""


@dataclass(frozen=True)
class Mark:
    """Of one run."""

    asked: str
    """Overrides and other flags of the submission, as they were typed."""
    note: str
    commit: str
    """Of the source tree; empty where it was none."""

    @property
    def short_commit(self) -> str:
        """As people write it."""
        return self.commit[:SHOWN_DIGITS]


def marks(database: Database, run_ids: Sequence[str]) -> dict[str, Mark]:
    """By run."""
    query = select(runs.c.id, runs.c.options_json).where(runs.c.id.in_(run_ids))
    with database.read() as connection:
        rows = connection.execute(query).all()
    return {row.id: _mark(json.loads(row.options_json or "{}")) for row in rows}


def _mark(options: Mapping[str, Any]) -> Mark:
    flags = ["--smoke"] if options.get("smoke") else []
    flags += [f"--set {each}" for each in options.get("sets") or ()]
    flags += [
        f"--{name} {options[name]}" for name in ("where", "until", "only") if options.get(name)
    ]
    flags += [f"--refresh {each}" for each in options.get("refresh") or ()]
    return Mark(" ".join(flags), options.get("note") or "", options.get("commit") or "")


def matching(every: Sequence[RunSummary], told: Mapping[str, Mark], words: str) -> list[RunSummary]:
    """Runs that hold all of some words in what is shown of them."""
    wanted = words.lower().split()
    found = []
    for run in every:
        mark = told[run.run_id]
        text = f"{run.run_id} {run.state} {run.grid_file} {mark.asked} {mark.note} {mark.commit}"
        if all(word in text.lower() for word in wanted):
            found.append(run)
    return found


@dataclass(frozen=True)
class Headline:
    """The first metric that a run's grid reports, of the cell that does best in it."""

    metric: str
    unit: str
    value: float
    cell: str

    @property
    def text(self) -> str:
        """The mean over seeds."""
        unit = f" {self.unit}" if self.unit and self.unit != "%" else self.unit
        return f"{plain(self.value, self.unit)}{unit}"


def headlines(database: Database, run_ids: Sequence[str]) -> dict[str, Headline]:
    """By run; runs that have measured nothing are left out."""
    found = {run_id: _headline(database, run_id) for run_id in run_ids}
    return {run_id: each for run_id, each in found.items() if each is not None}


def _headline(database: Database, run_id: str) -> Headline | None:
    names = select(metrics.c.name).join(cell_steps, cell_steps.c.step_key == metrics.c.step_key)
    with database.read() as connection:
        measured = sorted(connection.scalars(names.where(cell_steps.c.run_id == run_id).distinct()))
    wanted = [name for name in grid_choice(database, run_id).metrics if name in measured]
    first = [name for name in HEADLINES if name in measured]
    metric = next(iter([*wanted, *first, *filter(is_headline, measured)]), None)
    if metric is None:
        return None
    mine = (
        (cells.c.run_id == cell_steps.c.run_id)
        & (cells.c.cell_id == cell_steps.c.cell_id)
        & (cells.c.seed == cell_steps.c.seed)
    )
    mean = func.avg(metrics.c.value).label("mean")
    query = (
        select(cells.c.cell_id, func.max(cells.c.label).label("label"),
               func.max(cells.c.name).label("name"), func.max(metrics.c.unit).label("unit"), mean)
        .join(cell_steps, mine)
        .join(metrics, metrics.c.step_key == cell_steps.c.step_key)
        .where(cells.c.run_id == run_id, metrics.c.name == metric)
        .group_by(cells.c.cell_id)
    )  # fmt: skip
    with database.read() as connection:
        rows = connection.execute(query).all()
    choose = min if rows[0].unit in LOWER_IS_BETTER else max
    best = choose(rows, key=lambda row: row.mean)
    return Headline(metric, best.unit, best.mean, best.label or best.name or best.cell_id)
