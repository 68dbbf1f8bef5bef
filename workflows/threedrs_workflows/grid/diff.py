"""What one grid has that another has not, in cells."""

from __future__ import annotations

from dataclasses import dataclass

from threedrs_workflows.grid.cells import GridCell, GridCells


@dataclass(frozen=True)
class GridDiff:
    """The difference from an old grid to a new one. Cells are the same when their ids are."""

    added: tuple[GridCell, ...]
    removed: tuple[GridCell, ...]
    kept: tuple[GridCell, ...]
    """As the new grid names them."""
    seeds_added: tuple[int, ...]
    seeds_removed: tuple[int, ...]

    @property
    def is_empty(self) -> bool:
        """Whether both grids ask for the same results."""
        return not (self.added or self.removed or self.seeds_added or self.seeds_removed)


def diff_grids(old: GridCells, new: GridCells) -> GridDiff:
    """Cells and seeds that came, went and stayed."""
    before = {cell.cell_id for cell in old.cells}
    after = {cell.cell_id for cell in new.cells}
    return GridDiff(
        added=tuple(cell for cell in new.cells if cell.cell_id not in before),
        removed=tuple(cell for cell in old.cells if cell.cell_id not in after),
        kept=tuple(cell for cell in new.cells if cell.cell_id in before),
        seeds_added=tuple(seed for seed in new.seeds if seed not in old.seeds),
        seeds_removed=tuple(seed for seed in old.seeds if seed not in new.seeds),
    )
