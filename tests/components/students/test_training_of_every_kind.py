"""Every kind of student learns: its parts get gradients, and a step on the micro world runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from threedrs_components.objectives.alignment.config import AlignmentConfig
from threedrs_components.pretraining.student import pretrain_student
from threedrs_components.pretraining.student_config import MicroPretrainingConfig
from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.write import write_world
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.prepared import PreparedScenes, prepare_scene, write_prepared
from threedrs_components.scenes.rgbd_folder import RGBDFolder
from threedrs_components.students.checkpoints import student_features
from threedrs_components.students.registry import STUDENTS, open_student
from threedrs_components.students.settings import MicroWidths
from threedrs_components.students.student import Student
from threedrs_components.testing.synthetic import (
    TASKS,
    random_alignment,
    random_samples,
    random_student,
    task_objectives,
    write_random_features,
)
from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.loop import TrainingInputs, train
from threedrs_components.training.objective import TrainingModule
from threedrs_components.training.parameter_groups import parameter_groups

ALIGNMENT = AlignmentConfig(layers=(-1, -2), initialisation="fan_in")
WIDTHS = MicroWidths(
    vision_width=32, vision_ff=64, width=48, heads=4, key_value_heads=2, ff=96, layers=2
)
WORLD = MicroWorldConfig(train=4, text=2, val=1, num_frames=2)


def aligned(student: Student) -> TrainingModule:
    head = random_alignment(student, ALIGNMENT, 24)
    return TrainingModule(student, [*task_objectives(student), head])


@pytest.mark.parametrize("kind", ["qwen2_vl", "llava_video"])
def test_frozen_parts_stay_and_the_others_learn_at_their_rates(kind: str) -> None:
    released = TrainingConfig(learning_rate=1e-5, vision_learning_rate_factor=0.2)
    module = aligned(random_student(kind=kind))
    rates = {group.name: group.learning_rate for group in parameter_groups(module, released)}
    expected: dict[str, Any] = {"projector": 1e-5, "heads": 1e-5, "language": 1e-5}
    if kind == "llava_video":
        expected["vision"] = pytest.approx(2e-6)
    assert rates == expected


def test_every_group_has_a_rate_of_its_own_and_zero_freezes_it() -> None:
    chosen = TrainingConfig(
        learning_rate=4e-5,
        projector_learning_rate=3e-5,
        head_learning_rate=0.0,
        vision_learning_rate_factor=0.25,
    )
    module = aligned(random_student())
    groups = {group.name: group for group in parameter_groups(module, chosen)}
    rates = {name: group.learning_rate for name, group in groups.items()}
    assert rates == {"vision": 1e-5, "projector": 3e-5, "language": 4e-5}
    assert not module.student.grounding.no_object.requires_grad
    heads = list(module.heads.parameters())
    assert heads and not any(value.requires_grad for value in heads)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered micro world, its text scenes prepared, with features of a teacher."""
    root = tmp_path_factory.mktemp("world")
    write_world(WORLD, root / "scenes")
    source = RGBDFolder(root / "scenes")
    config = PrepareConfig(num_frames=2)
    for scene_id in source.scenes("text"):
        prepared = prepare_scene(source.load(scene_id), None, config)
        write_prepared(prepared, root / "prepared")
        write_random_features(prepared, root / "features", 8, 0)
    return root


@pytest.mark.parametrize("kind", STUDENTS)
def test_a_step_on_the_micro_world_runs(world: Path, tmp_path: Path, kind: str) -> None:
    config = STUDENTS.read({"kind": kind, "micro": WIDTHS, "position_encoding": True})
    recipe = MicroPretrainingConfig(
        tower_steps=1, tower_images=2, language_steps=1, language_frames=2, evaluation_frames=1
    )
    start = tmp_path / "start"
    pretrain_student(recipe, config, world / "scenes", start, tmp_path / "scratch", lambda *_: None)
    chosen = config.model_copy(update={"checkpoint": str(start), "frozen": ()})
    scenes = PreparedScenes(world / "prepared")
    inputs = TrainingInputs(
        student=chosen,
        prepared=world / "prepared",
        samples={scene.scene_id: random_samples(scene, 4, 0) for scene in scenes},
        training=TrainingConfig(steps=1, scenes_per_step=2, questions_per_scene=3),
        objectives=(*TASKS, ALIGNMENT),
        features=world / "features",
    )
    curve: list[dict[str, float]] = []
    train(
        inputs,
        report=lambda _, values: curve.append(values),
        checkpoint_dir=tmp_path / "checkpoints",
        out=tmp_path / "out",
    )
    assert curve[0]["loss/alignment"] > 0
    trained = open_student(tmp_path / "out")
    assert trained.config.kind == kind
    before, after = load_file(start / "model.safetensors"), trained.state_dict()
    changed = {
        trained.part_of(name) for name in before if not torch.equal(before[name], after[name])
    }
    assert changed == {"vision", "projector", "language", "heads"}
    scene = next(iter(scenes))
    states = student_features(trained, scene.frame_batch(), scene.coordinates)
    assert states.shape == (2, 4, 4, 48)


def test_prepared_patches_add_up_to_cells(world: Path) -> None:
    source = RGBDFolder(world / "scenes")
    scene = source.load(source.scenes("text")[0])
    prepared = prepare_scene(scene, None, PrepareConfig(num_frames=2, patch_grid=8))
    assert prepared.object_patches is not None
    assert prepared.object_patches.sum() > 0
    by_cell = torch.nn.functional.avg_pool2d(prepared.object_patches, 2)
    torch.testing.assert_close(by_cell, prepared.object_weights)
