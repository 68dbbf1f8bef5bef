"""Which cell, seed and baseline a URL names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from starlette.requests import Request

from threedrs_components.report.table import BASE
from threedrs_dashboards import query
from threedrs_dashboards.choices import grid_choice
from threedrs_dashboards.store import Store
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.database.measurements import CellResult, RunSummary
from threedrs_platform.database.schema import cells
from threedrs_platform.errors import ConfigError, Fault


@dataclass(frozen=True)
class CellName:
    """One cell and what people call it."""

    cell_id: str
    title: str
    names: frozenset[str]


@dataclass(frozen=True)
class Subject:
    """One cell under one seed, its replicates, and the cell it is compared with."""

    run: RunSummary
    known: tuple[CellName, ...]
    cell: CellResult
    replicates: tuple[CellResult, ...]
    """Of the cell, seeds ascending."""
    against: tuple[CellResult, ...]
    """Of the baseline, seeds ascending."""

    @property
    def twin(self) -> CellResult:
        """The baseline under the same seed, or under its first one."""
        same = (each for each in self.against if each.seed == self.cell.seed)
        return next(same, self.against[0])

    @property
    def is_baseline(self) -> bool:
        """Whether the cell would be compared with itself."""
        return self.cell.cell_id == self.against[0].cell_id


def find_subject(request: Request, store: Store) -> Subject:
    """Read the query string; the cell is the first, the seed its first, where none is named.

    Raises:
        ConfigError: no such run, cell or seed.
    """
    run = store.run(query.text(request, "run"))
    known = cell_names(store, run.run_id)
    if not known:
        raise ConfigError([Fault(f"run {run.run_id} has no cells")])
    cell_id = _find(known, query.text(request, "cell"), known[0].cell_id)
    compare_to = grid_choice(store.database, run.run_id).compare_to
    there = any(compare_to in cell.names for cell in known)  # a run of `--where` may be without it
    wanted = query.text(request, "against") or (compare_to if there else None)
    against = _find(known, "" if wanted in (None, BASE) else str(wanted), _baseline(known))
    results = store.results.run_results(run.run_id, cell_ids={cell_id, against})
    groups = results.by_cell()
    replicates = groups[cell_id]
    seed = query.number(request, "seed", replicates[0].seed, low=-(10**9))
    for cell in replicates:
        if cell.seed == seed:
            return Subject(run, known, cell, replicates, groups[against])
    seeds = ", ".join(str(cell.seed) for cell in replicates)
    raise ConfigError([Fault(f"this cell has no seed {seed}, only {seeds}", path="seed")])


def cell_names(store: Store, run_id: str) -> tuple[CellName, ...]:
    """All cells of a run in grid order."""
    listed = (
        select(cells.c.cell_id, cells.c.name, cells.c.label)
        .where(cells.c.run_id == run_id)
        .order_by(cells.c.position)
    )
    with store.database.read() as connection:
        rows = connection.execute(listed).all()
    found = {
        row.cell_id: CellName(
            row.cell_id,
            row.label or row.name or row.cell_id,
            frozenset({row.cell_id, row.name, row.label}),
        )
        for row in rows
    }
    return tuple(found.values())


def _find(known: Sequence[CellName], wanted: str, default: str) -> str:
    if not wanted:
        return default
    for cell in known:
        if wanted in cell.names:
            return cell.cell_id
    hint = did_you_mean(wanted, [cell.title for cell in known])
    raise ConfigError([Fault(f"no cell is called {wanted!r}{hint}", path="cell")])


def _baseline(known: Sequence[CellName]) -> str:
    """The cell called so, else the first."""
    named = (cell.cell_id for cell in known if cell.names & {BASE, "baseline"})
    return next(named, known[0].cell_id)
