"""Which cells are compared: `?cell=RUN:CELL`, repeated, and `?reference=RUN:CELL` with which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request

from threedrs_dashboards import query
from threedrs_dashboards.charts import COLOURS
from threedrs_dashboards.defaults import first_cells
from threedrs_dashboards.store import Store
from threedrs_dashboards.viewer.cells import CellChoice, choose_cell, list_cells
from threedrs_platform.database.measurements import CellResult, RunSummary
from threedrs_platform.errors import ConfigError, Fault

MOST_ARMS = len(COLOURS)
"""More could not be told apart."""


def arm_name(run_id: str, cell_id: str) -> str:
    """A cell as the URL names it."""
    return f"{run_id}:{cell_id}"


@dataclass(frozen=True)
class Arm:
    """One cell that is compared."""

    run: RunSummary
    replicates: tuple[CellResult, ...]
    """Seeds ascending."""
    title: str
    """Told apart from the other arms by its run, where their cells are called alike."""
    colour: str

    @property
    def cell_id(self) -> str:
        """Of its cell."""
        return self.replicates[0].cell_id

    @property
    def name(self) -> str:
        """As the URL names it."""
        return arm_name(self.run.run_id, self.cell_id)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Ascending."""
        return tuple(cell.seed for cell in self.replicates)

    def under(self, seed: int | None) -> CellResult:
        """The replicate with a seed; the first one where this cell lacks it."""
        same = (cell for cell in self.replicates if cell.seed == seed)
        return next(same, self.replicates[0])


def find_arms(request: Request, store: Store) -> list[Arm]:
    """The cells of a URL in its order, but for the reference, which is first.

    It is the one that the URL names, else the cell that its run's grid compares with, else the
    first: whoever ticks rows of a table does so in the order of the table.

    Raises:
        ConfigError: one of them does not exist, or there are too many.
    """
    wanted = query.several(request, "cell")
    chosen = query.text(request, "reference")
    if len(wanted) > MOST_ARMS:
        raise ConfigError(
            [Fault(f"{len(wanted)} cells; at most {MOST_ARMS} are told apart", "cell")]
        )
    found = [_cell(each, request, store) for each in wanted]
    reference = next((at for at, name in enumerate(wanted) if name == chosen), None)
    if reference is None:
        reference = next((at for at, each in enumerate(found) if _is_baseline(store, *each)), 0)
    found = [*found[reference : reference + 1], *found[:reference], *found[reference + 1 :]]
    titles = [replicates[0].title for _, replicates in found]
    return [
        Arm(
            run,
            replicates,
            title if titles.count(title) == 1 else f"{title} ({run.run_id})",
            COLOURS[index],
        )
        for index, ((run, replicates), title) in enumerate(zip(found, titles, strict=True))
    ]


def _is_baseline(store: Store, run: RunSummary, replicates: Sequence[CellResult]) -> bool:
    first = first_cells(store, run.run_id)
    return first is not None and first.reference == replicates[0].cell_id


def _cell(name: str, request: Request, store: Store) -> tuple[RunSummary, tuple[CellResult, ...]]:
    """`RUN:CELL`, or a cell of the run that `?run=` names, by its id."""
    run_id, colon, cell_id = name.partition(":")
    if not colon:
        run_id, cell_id = query.text(request, "run"), name
    run = store.run(run_id)
    choose_cell(list_cells(store.database, run.run_id), cell_id, run.run_id)
    groups = store.results.run_results(run.run_id, cell_ids={cell_id}).by_cell()
    return run, groups[cell_id]


@dataclass(frozen=True)
class Offer:
    """Cells of a run that can be added."""

    run: RunSummary
    runs: Sequence[RunSummary]
    """Whose cells could be offered instead, newest first."""
    cells: Sequence[CellChoice]

    def choices(self, arms: Sequence[Arm]) -> Mapping[str, str]:
        """Name -> title of those that are not chosen yet."""
        chosen = {arm.name for arm in arms}
        named = {arm_name(self.run.run_id, cell.cell_id): cell.title for cell in self.cells}
        return {name: title for name, title in named.items() if name not in chosen}


def find_offer(request: Request, store: Store, arms: Sequence[Arm]) -> Offer:
    """Cells of the run `?from=`; else of the first arm's run, `?run=`, or the newest."""
    wanted = query.text(request, "from") or (arms[0].run.run_id if arms else "")
    run = store.run(wanted or query.text(request, "run"))
    return Offer(run, store.results.run_summaries(), list_cells(store.database, run.run_id))
