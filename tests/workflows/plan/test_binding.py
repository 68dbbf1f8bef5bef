from __future__ import annotations

from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.identity.file_digests import FileDigests
from threedrs_platform.steps import Resources, StepSpec
from threedrs_workflows.experiment import canonical_experiment
from threedrs_workflows.grid.cells import expand
from threedrs_workflows.plan.binding import bind_cells, with_resources

GRID = """
version: 1
name: test
base: {preset: micro}
seeds: [1, 2]
ablate: {factors: {teacher: [vggt]}}
include: [{label: floor}]
steps: {extract: {cpus: 3}}
"""


def test_every_cell_is_bound_once_per_seed_seeds_one_after_the_other() -> None:
    grid = expand(load_document(GRID))
    cells = bind_cells(grid, FileDigests())
    assert [(cell.label or cell.name, cell.seed) for cell in cells] == [
        ("floor", 1),
        ("teacher=vggt", 1),
        ("floor", 2),
        ("teacher=vggt", 2),
    ]
    assert [cell.cell_id for cell in cells[:2]] == [cell.cell_id for cell in grid.cells]
    assert dict(cells[0].params) == canonical_experiment(grid.cells[0].experiment)


def test_resources_reach_the_steps_that_others_read_from() -> None:
    vggt = bind_cells(expand(load_document(GRID)), FileDigests())[1]
    finetune = vggt.steps["finetune"]
    assert finetune.inputs["features"].resources.cpus == 3
    assert finetune.inputs["features"] == vggt.steps["extract"]


def test_shared_steps_stay_shared() -> None:
    scenes = StepSpec("scenes", "m:f", {})
    read = StepSpec("prepare", "m:f", {}, {"scenes": scenes})
    steps = with_resources({"a": scenes, "b": read}, {"scenes": Resources(gpus=1)})
    assert steps["a"].resources.gpus == 1
    assert steps["b"].inputs["scenes"] is steps["a"]
    assert steps["b"].resources == Resources()


def test_a_step_with_a_gpu_is_another_step_and_is_told_to_use_it() -> None:
    read = StepSpec("probe", "m:run", {})
    given = with_resources({"probe": read}, {"probe": Resources(gpus=1)})["probe"]
    kept = with_resources({"probe": read}, {"probe": Resources(cpus=2)})["probe"]
    assert given.numerics != read.numerics and given.settings["gpus"] == 1
    assert kept.numerics == read.numerics
