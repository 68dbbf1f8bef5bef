"""Cells of a grid share sections, and all that is made of them."""

from __future__ import annotations

from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.identity.file_digests import FileDigests
from threedrs_workflows.grid.cells import expand
from threedrs_workflows.plan.binding import bind_cells
from threedrs_workflows.testing.cell_steps import cell_steps

GRID = """
version: 1
name: shared
base: {preset: micro, teacher: vggt}
seeds: [1, 2]
matrix:
  alignment.weight: [0.5, 1.0]
  training.learning_rate: [0.001, 0.002]
"""


def test_shared_steps_are_made_once_and_are_those_of_a_cell_alone() -> None:
    grid = expand(load_document(GRID, "grid.yaml"))
    cells = bind_cells(grid, FileDigests())
    assert len(cells) == 8
    for role in ("scenes", "prepare", "samples", "pretrain", "teacher", "extract"):
        assert len({id(cell.steps[role]) for cell in cells}) == 1, role
    assert len({id(cell.steps["finetune"]) for cell in cells}) == 8
    by_id = {cell.cell_id: cell.experiment for cell in grid.cells}
    for cell in cells:
        assert cell.steps == cell_steps(by_id[cell.cell_id], cell.seed, FileDigests())


def test_cells_share_the_sections_in_which_they_are_equal() -> None:
    experiments = [cell.experiment for cell in expand(load_document(GRID, "grid.yaml")).cells]
    assert len({id(each.students) for each in experiments}) == 1
    assert len({id(each.probe) for each in experiments}) == 1
    assert len({id(each.training) for each in experiments}) == 2
    assert len({id(each.alignment) for each in experiments}) == 2
