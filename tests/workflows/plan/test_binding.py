from __future__ import annotations

import pytest

from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.errors import ConfigError
from threedrs_platform.fake_gpus import FAKE_GPUS
from threedrs_platform.identity.file_digests import FileDigests
from threedrs_platform.steps import Resources, StepSpec
from threedrs_workflows.experiment_identity import canonical_experiment
from threedrs_workflows.grid.cells import expand
from threedrs_workflows.grid.file import StepResources
from threedrs_workflows.grid.slurm_section import SlurmSettings
from threedrs_workflows.plan.binding import WithResources, bind_cells

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
    steps = WithResources({"scenes": StepResources(gpus=1)}).steps({"a": scenes, "b": read})
    assert steps["a"].resources.gpus == 1
    assert steps["b"].inputs["scenes"] is steps["a"]
    assert steps["b"].resources == Resources()


def test_a_step_with_a_gpu_is_another_step_and_is_told_to_use_it() -> None:
    read = StepSpec("probe", "m:run", {})
    given = WithResources({"probe": StepResources(gpus=1)}).steps({"probe": read})["probe"]
    kept = WithResources({"probe": StepResources(cpus=2)}).steps({"probe": read})["probe"]
    assert given.numerics != read.numerics and given.settings["gpus"] == 1
    assert kept.numerics == read.numerics


def test_a_worker_group_shares_what_the_grid_gives_its_step() -> None:
    train = StepSpec("finetune", "m:run", {}, resources=Resources(cpus=8, workers=8))
    named = StepResources(gpus=8, memory_gib=64)
    step = WithResources({"finetune": named}).steps({"finetune": train})["finetune"]
    assert step.resources == Resources(cpus=8, gpus=8, memory_gib=64, workers=8)
    assert step.settings == {"gpus": 8, "cpus": 8, "memory_gib": 64}


def test_what_slurm_is_asked_for_changes_nothing_of_a_step() -> None:
    train = StepSpec("finetune", "m:run", {})
    plain = StepResources(gpus=8)
    on_slurm = StepResources(gpus=8, slurm=SlurmSettings(partition="gpu"))
    steps = [WithResources({"finetune": each}).steps({"it": train}) for each in (plain, on_slurm)]
    assert steps[0] == steps[1]


def test_a_rehearsal_without_gpus_never_passes_for_the_real_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def numerics() -> str:
        train = StepSpec("finetune", "m:run", {})
        return WithResources({"finetune": StepResources(gpus=1)}).steps({"a": train})["a"].numerics

    real = numerics()
    monkeypatch.setenv(FAKE_GPUS, "8")
    assert numerics() != real


GROUP = """\
version: 1
name: x
base: {preset: micro, training.workers: 2, training.strategy: ddp}
steps: STEPS
"""


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ("{finetune: {nodes: 3}}", "training.workers: 2 cannot be spread evenly over 3 nodes"),
        ("{predict: {nodes: 2}}", "only finetune can have several"),
    ],
)
def test_nodes_over_which_nothing_can_be_spread_are_refused(steps: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        expand(load_document(GROUP.replace("STEPS", steps)))


def test_nodes_reach_the_training_and_change_no_key() -> None:
    made = [
        cell.steps["finetune"]
        for steps in ("{finetune: {cpus: 2}}", "{finetune: {cpus: 2, nodes: 2}}")
        for cell in bind_cells(expand(load_document(GROUP.replace("STEPS", steps))), FileDigests())
    ]
    assert [step.resources.nodes for step in made] == [1, 2]
    one, two = ((each.params, each.settings, each.numerics) for each in made)
    assert one == two
