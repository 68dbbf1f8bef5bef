"""Pretraining: the loss falls, a resume changes nothing, and the report stands beside a guess."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from threedrs_components.pretraining.registry import TEACHER_PRETRAININGS, pretraining_of
from threedrs_components.pretraining.teacher import draw, pretrain_teacher
from threedrs_components.pretraining.teacher_config import TeacherPretraining, TeacherRecipe
from threedrs_components.pretraining.teacher_world import camera_centres, pose_encoding, read_world
from threedrs_components.pretraining.vggt.pretraining import pose_distance
from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.write import write_world
from threedrs_components.scenes.rgbd_folder import RGBDFolder
from threedrs_components.teachers.colours import RGBConfig
from threedrs_components.teachers.mae.architecture import MAEArchitecture
from threedrs_components.teachers.mae.config import MAEConfig
from threedrs_components.teachers.registry import load_teacher
from threedrs_components.teachers.teacher import FrameTeacher
from threedrs_components.teachers.vggt.architecture import VGGTArchitecture
from threedrs_components.teachers.vggt.config import VGGTConfig
from threedrs_platform.config.kinds import choose
from threedrs_platform.errors import ConfigError, DataError, StepFailed
from threedrs_platform.identity.source_code import CodeIndex
from threedrs_platform.records import Metric

VGGT_SHAPE = VGGTArchitecture(
    image_size=16, patch_size=8, embed_dim=16, heads=2, patch_embed_depth=1, depth=1,
    mlp_ratio=2.0, dpt_layers=(0, 0, 0, 0), dpt_features=8, dpt_channels=(8, 8, 8, 8),
)  # fmt: skip
TEACHERS: dict[str, VGGTConfig | MAEConfig] = {
    "vggt": VGGTConfig(architecture=VGGT_SHAPE),
    "vggt-dpt": VGGTConfig(architecture=VGGT_SHAPE.model_copy(update={"dense_head": "dpt"})),
    "mae": MAEConfig(
        architecture=MAEArchitecture(
            image_size=16, patch_size=4, hidden_size=16, layers=1, heads=2,
            decoder_hidden_size=16, decoder_heads=2,
        )
    ),
}  # fmt: skip
GUESSED = {
    "vggt": {"point_error", "r2_x", "r2_y", "r2_z", "depth_abs_rel", "camera_error"},
    "mae": {"reconstruction"},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    write_world(MicroWorldConfig(teacher_scenes=6, num_frames=2, image_size=16), root, "teacher")
    return root


def recipe(name: str, steps: int = 6, **fields: int) -> TeacherPretraining:
    settings = TeacherRecipe(
        steps=steps, scenes_per_step=3, learning_rate=5e-3, checkpoint_every=2, **fields
    )
    return pretraining_of(TEACHERS[name], settings)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


class Interrupted(Exception):
    """What a killed process looks like from inside."""


@pytest.mark.parametrize("kind", TEACHER_PRETRAININGS)
def test_training_one_kind_reaches_neither_the_other_nor_what_extracts(kind: str) -> None:
    module = TEACHER_PRETRAININGS.module(kind)
    reached = CodeIndex().modules("threedrs_components.pretraining.teacher:f", [module])
    assert f"threedrs_components.pretraining.{kind}.pretraining" in reached
    others = {*TEACHER_PRETRAININGS, "registry", "settings", "image_encoder"} - {kind}
    own = [name for name in reached if ".scenes." not in name]
    assert not [name for name in own if others & {*name.split(".")}]
    assert f"threedrs_components.teachers.{kind}.config" not in reached


def test_a_recipe_takes_from_the_teacher_what_its_training_depends_on() -> None:
    teacher, settings = TEACHERS["vggt"], TeacherRecipe(steps=7, seed=3)
    made = pretraining_of(teacher, settings)
    assert (made.kind, made.steps, made.seed) == ("vggt", 7, 3)
    assert made.image_size == VGGT_SHAPE.image_size
    other_layer = teacher.model_copy(update={"layer": 0, "framing": "crop", "licence": "CC0"})
    assert pretraining_of(other_layer, settings) == made
    assert choose(made).open(type(made)) == made


def test_a_teacher_that_nothing_trains_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="kind 'rgb' cannot be trained here, only vggt, mae"):
        pretraining_of(RGBConfig(), TeacherRecipe())


@pytest.mark.parametrize("name", TEACHERS)
def test_a_few_steps_reduce_the_loss(name: str, world: Path, tmp_path: Path) -> None:
    losses: list[float] = []
    config = recipe(name, steps=30)
    pretrain_teacher(
        config, world, tmp_path, log=lambda step, values: losses.append(values["loss"])
    )
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])


@pytest.mark.parametrize("name", ["vggt", "mae"])
def test_a_resumed_training_gives_the_same_weights(name: str, world: Path, tmp_path: Path) -> None:
    def killed_at_five(done: int, total: int, note: str) -> None:
        if note == "pretraining" and done == 5:
            raise Interrupted

    config, scratch = recipe(name), tmp_path / "scratch"
    pretrain_teacher(config, world, tmp_path / "undisturbed")
    with pytest.raises(Interrupted):
        pretrain_teacher(
            config, world, tmp_path / "resumed", resume_dir=scratch, progress=killed_at_five
        )
    steps: list[int] = []
    pretrain_teacher(
        config, world, tmp_path / "resumed", resume_dir=scratch,
        log=lambda step, values: steps.append(step),
    )  # fmt: skip
    assert steps == [1, 2, 3, 4, 5, 6]
    assert weights(tmp_path / "resumed") == weights(tmp_path / "undisturbed")


def test_another_seed_gives_other_weights(world: Path, tmp_path: Path) -> None:
    for seed in (0, 1):
        pretrain_teacher(recipe("vggt", steps=1, seed=seed), world, tmp_path / str(seed))
    assert weights(tmp_path / "0") != weights(tmp_path / "1")


def test_a_checkpoint_of_another_recipe_is_refused(world: Path, tmp_path: Path) -> None:
    pretrain_teacher(recipe("vggt", steps=2), world, tmp_path / "a", resume_dir=tmp_path)
    with pytest.raises(DataError, match="0000002: a checkpoint of another configuration"):
        pretrain_teacher(recipe("vggt", steps=3), world, tmp_path / "b", resume_dir=tmp_path)


def test_how_often_checkpoints_are_made_does_not_forbid_a_resume(
    world: Path, tmp_path: Path
) -> None:
    config = recipe("vggt", steps=2)
    pretrain_teacher(config, world, tmp_path / "a", resume_dir=tmp_path)
    rarer = config.model_copy(update={"checkpoint_every": 50})
    pretrain_teacher(rarer, world, tmp_path / "b", resume_dir=tmp_path)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


def test_a_damaged_checkpoint_is_told_and_the_one_before_taken(world: Path, tmp_path: Path) -> None:
    config, states = recipe("vggt", steps=2), tmp_path / "states"
    told: list[str] = []
    config = config.model_copy(update={"checkpoint_every": 1})
    pretrain_teacher(config, world, tmp_path / "a", resume_dir=states)
    (states / "pretraining-0000002").write_bytes(b"half")
    pretrain_teacher(config, world, tmp_path / "b", resume_dir=states, warn=told.append)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    assert len(told) == 1 and told[0].startswith("pretraining-0000002: damaged")


def test_a_training_that_diverges_stops_and_says_so(world: Path, tmp_path: Path) -> None:
    config = recipe("vggt", steps=30).model_copy(update={"learning_rate": 1e30})
    with pytest.raises(StepFailed, match=r"diverged: the loss is (nan|inf) at step"):
        pretrain_teacher(config, world, tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize("kind", GUESSED)
def test_every_quality_stands_beside_a_trivial_guess(
    kind: str, world: Path, tmp_path: Path
) -> None:
    metrics = pretrain_teacher(recipe(kind, steps=2), world, tmp_path)
    assert {metric.name for metric in metrics} == {f"teacher/{name}" for name in GUESSED[kind]}
    assert all(metric.chance is not None and metric.n > 0 for metric in metrics)
    stored = json.loads((tmp_path / "quality.json").read_text())
    assert [Metric(**entry) for entry in stored["metrics"]] == metrics
    assert (stored["training_scenes"], stored["held_out_scenes"]) == (5, 1)


@pytest.mark.parametrize(("kind", "width"), [("vggt", 32), ("mae", 16)])
def test_what_was_trained_can_be_loaded(kind: str, width: int, world: Path, tmp_path: Path) -> None:
    pretrain_teacher(recipe(kind, steps=1), world, tmp_path)
    teacher = load_teacher(kind, str(tmp_path))
    assert isinstance(teacher, FrameTeacher)
    features = teacher.features(torch.rand(2, 3, 16, 16))
    assert features.shape[-1] == width
    assert json.loads((tmp_path / "config.json").read_text())


def test_a_world_without_held_out_scenes_is_refused(tmp_path: Path) -> None:
    write_world(
        MicroWorldConfig(teacher_scenes=1, num_frames=1, image_size=16), tmp_path, "teacher"
    )
    with pytest.raises(DataError, match="scenes to train on and scenes to measure on"):
        pretrain_teacher(recipe("vggt"), tmp_path, tmp_path / "out")


def test_scenes_of_different_length_are_refused(world: Path, tmp_path: Path) -> None:
    for scene_id in RGBDFolder(world).scenes("train")[:2]:
        (tmp_path / scene_id).mkdir()
        for source in (world / "scenes" / scene_id).iterdir():
            (tmp_path / scene_id / source.name).write_bytes(source.read_bytes())
    scenes = RGBDFolder(tmp_path).scenes()
    for path in (tmp_path / scenes[0]).glob("frame-000001*"):
        path.unlink()
    with pytest.raises(DataError, match=r"scenes have \[1, 2\] frames"):
        read_world(tmp_path, scenes, 16, 2)


def test_targets_are_means_over_cells_in_the_rooms_frame(world: Path) -> None:
    scene_id = RGBDFolder(world).scenes("train")[0]
    scene, read = RGBDFolder(world).load(scene_id), read_world(world, [scene_id], 16, 2)
    corner = scene.depth[0, :8, :8]
    assert read.depth[0, 0, 0, 0] == pytest.approx(float(corner.mean()), rel=1e-5)
    v, u = np.meshgrid(np.arange(8), np.arange(8), indexing="ij")
    pixels = np.stack([u, v, np.ones_like(u)]).reshape(3, -1)
    rays = np.linalg.inv(scene.depth_intrinsics) @ pixels * corner.reshape(-1)
    points = scene.camera_to_world[0, :3, :3] @ rays + scene.camera_to_world[0, :3, 3:]
    np.testing.assert_allclose(read.points[0, 0, 0, 0], points.mean(1), atol=1e-4)


def test_the_pose_encoding_keeps_the_cameras_place(world: Path) -> None:
    source = RGBDFolder(world)
    scene = source.load(source.scenes("train")[0])
    centres = camera_centres(torch.from_numpy(pose_encoding(scene)))
    np.testing.assert_allclose(centres, scene.camera_to_world[:, :3, 3], atol=1e-5)


def test_a_quaternion_and_its_negative_are_one_rotation() -> None:
    pose = torch.randn(2, 3, 9)
    flipped = pose.clone()
    flipped[..., 3:7] *= -1
    assert pose_distance(flipped, pose) == 0


def test_a_step_draws_the_same_scenes_whenever_it_is_reached() -> None:
    train, config = torch.arange(100), recipe("mae")
    first, again = draw(config, 3, train), draw(config, 3, train)
    assert torch.equal(first[0], again[0])
    assert torch.equal(torch.rand(5, generator=first[1]), torch.rand(5, generator=again[1]))
    assert not torch.equal(first[0], draw(config, 4, train)[0])
    assert len(set(first[0].tolist())) == 3


@pytest.mark.parametrize("kind", GUESSED)
def test_every_trained_teacher_keeps_the_contract(kind: str, world: Path, tmp_path: Path) -> None:
    pretrain_teacher(recipe(kind, steps=1), world, tmp_path)
    teacher = load_teacher(kind, str(tmp_path), licence="CC0")
    assert isinstance(teacher, FrameTeacher)
    frames = torch.rand(2, 3, 20, 20)
    features = teacher.features(frames)
    assert features.dtype == torch.float32
    assert features.shape[:3] == (2, teacher.grid, teacher.grid)
    assert not features.requires_grad
    assert torch.equal(teacher.features(frames), features)
    assert (teacher.card.kind, teacher.card.licence) == (kind, "CC0")
    assert len(teacher.card.source_digest) == 64
