"""Which cells a page begins with where its URL names none: the same ones on every page."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from threedrs_components.report.table import BASE
from threedrs_dashboards.store import Store
from threedrs_platform.database.grid_choice import grid_choice
from threedrs_platform.database.schema import cell_steps, cells

WITH_TEACHER = "extract"
"""Role of the step that shows that a cell is taught."""
REFERENCES = frozenset({BASE, "baseline"})


@dataclass(frozen=True)
class FirstCells:
    """Ids of two cells of a run, the same where it has but one."""

    ours: str
    """The first that learns from a teacher, so that a first visit shows all there is to see."""
    reference: str
    """What the grid compares with; else the cell called so, else the first."""


def first_cells(store: Store, run_id: str) -> FirstCells | None:
    """The cells that a run's pages begin with; None for a run without cells."""
    columns = (cells.c.cell_id, cells.c.name, cells.c.label)
    listed = select(*columns).where(cells.c.run_id == run_id).order_by(cells.c.position)
    taught = select(cell_steps.c.cell_id).where(
        cell_steps.c.run_id == run_id, cell_steps.c.role == WITH_TEACHER
    )
    with store.database.read() as connection:
        names = {
            row.cell_id: {row.cell_id, row.name, row.label} for row in connection.execute(listed)
        }
        with_teacher = set(connection.scalars(taught.distinct()))
    if not names:
        return None
    wanted = grid_choice(store.database, run_id).compare_to
    called = REFERENCES if wanted in (None, BASE) else {wanted}
    reference = next((each for each in names if names[each] & called), next(iter(names)))
    others = [each for each in names if each != reference]
    ours = next((each for each in others if each in with_teacher), next(iter(others), reference))
    return FirstCells(ours, reference)
