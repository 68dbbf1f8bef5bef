from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from threedrs_components.scenes.boxes import read_candidates
from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.scene import make_scene
from threedrs_components.scenes.prepared import (
    PrepareConfig,
    PreparedScene,
    PreparedScenes,
    prepare_scene,
    write_prepared,
)
from threedrs_components.scenes.rgbd_folder import RGBDFolder
from threedrs_platform.errors import SceneError
from threedrs_platform.records import Scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(MicroWorldConfig(), "train", 0).record()


def _tensors(prepared: PreparedScene) -> dict[str, torch.Tensor]:
    values = {f.name: getattr(prepared, f.name) for f in dataclasses.fields(prepared)}
    return {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}


def test_shapes_are_the_law(scene: Scene) -> None:
    prepared = prepare_scene(scene, [[0, 0, 1, 1, 1, 1]] * 9, PrepareConfig())
    assert scene.objects is not None
    objects = len(scene.objects.labels)
    assert prepared.images.shape == (8, 64, 64, 3) and prepared.images.dtype == torch.uint8
    assert prepared.coordinates.shape == (8, 4, 4, 3)
    assert prepared.counts.tolist() == [[[256] * 4] * 4] * 8
    assert prepared.object_weights.shape == (objects, 8, 4, 4)
    assert prepared.proposal_weights.shape == (9, 8, 4, 4)
    assert prepared.frame_batch().shape == (8, 3, 64, 64)


def test_an_object_weighs_where_it_is_seen(scene: Scene) -> None:
    micro = make_scene(MicroWorldConfig(), "train", 0)
    prepared = prepare_scene(scene, None, PrepareConfig())
    shown = torch.from_numpy(micro.rendering.instances)
    for index, weights in enumerate(prepared.object_weights):
        share = (shown == index + 1).float().view(8, 4, 16, 4, 16).mean((2, 4))
        assert (weights - share).abs().max() < 0.08
        assert float(weights.sum()) == pytest.approx(float(share.sum()), rel=0.03)


@pytest.mark.parametrize(("proposals", "given"), [(None, False), ([], True)])
def test_no_list_of_proposals_is_not_an_empty_list(
    scene: Scene, tmp_path: Path, proposals: list[list[float]] | None, given: bool
) -> None:
    write_prepared(prepare_scene(scene, proposals, PrepareConfig()), tmp_path)
    read = PreparedScenes(tmp_path)[scene.scene_id]
    assert (len(read.proposals), read.has_proposals) == (0, given)


def test_a_crop_drops_the_sides_of_frames_and_of_all_that_is_made_from_them(scene: Scene) -> None:
    shift = np.array([[0, 0, 8], [0, 0, 0], [0, 0, 0]], np.float32)
    wide = dataclasses.replace(
        scene,
        color_intrinsics=scene.color_intrinsics + shift,
        depth_intrinsics=scene.depth_intrinsics + shift,
        images=np.concatenate([np.zeros_like(scene.images[:, :, :8]), scene.images], 2),
        depth=np.concatenate([np.zeros_like(scene.depth[:, :, :8]), scene.depth], 2),
    )
    cropped = prepare_scene(wide, None, PrepareConfig(resize="crop"))
    squashed = prepare_scene(wide, None, PrepareConfig())
    assert torch.equal(cropped.images, torch.from_numpy(wide.images[:, :, 4:68]))
    assert (cropped.counts[:, :, 0] == 16 * 12).all() and (cropped.counts[:, :, 1:] == 256).all()
    assert squashed.images.shape == cropped.images.shape
    assert not torch.equal(squashed.coordinates, cropped.coordinates)
    assert not torch.equal(squashed.object_weights, cropped.object_weights)


@pytest.mark.parametrize("arithmetic", ["bfloat16", "float16"])
def test_narrow_arithmetic_bins_coordinates_elsewhere(scene: Scene, arithmetic: str) -> None:
    exact = prepare_scene(scene, [[1, 2, 1, 1.001, 1, 1]], PrepareConfig())
    config = PrepareConfig.model_validate({"arithmetic": arithmetic})
    narrow = prepare_scene(scene, [[1, 2, 1, 1.001, 1, 1]], config)
    steps = narrow.coordinates / 0.1
    assert (steps - steps.round()).abs().max() < 1e-4
    binned = (exact.coordinates / 0.1).round()
    assert 0 < (steps.round() != binned).float().mean() < 0.5
    assert not torch.equal(narrow.proposals, exact.proposals)
    dtype = getattr(torch, arithmetic)
    assert torch.equal(narrow.boxes, exact.boxes.to(dtype).float())
    assert narrow.pairs is not None and exact.pairs is not None
    # Pixels of the level "pixel" are the paper's, whatever the released arithmetic.
    assert narrow.pairs.positive_pairs == exact.pairs.positive_pairs


def test_scenes_outside_the_training_split_may_have_another_arithmetic() -> None:
    config = PrepareConfig(arithmetic="bfloat16", evaluation_arithmetic="float16")
    assert config.of_evaluation().arithmetic == "float16"
    assert PrepareConfig(arithmetic="bfloat16").of_evaluation().arithmetic == "bfloat16"
    assert PrepareConfig(birds_eye=40).of_evaluation().birds_eye is None


def test_pixels_without_depth_stay_out_of_pairs_wherever_they_are_averaged(scene: Scene) -> None:
    depth = scene.depth.copy()
    depth[:, ::2] = 0
    holed = dataclasses.replace(scene, depth=depth)
    masked = prepare_scene(holed, None, PrepareConfig())
    averaged = prepare_scene(holed, None, PrepareConfig(invalid_depth="camera_centre"))
    assert (masked.counts == 128).all() and (averaged.counts == 256).all()
    assert not torch.equal(masked.coordinates, averaged.coordinates)
    assert masked.pairs is not None and averaged.pairs is not None
    assert masked.pairs.positive_pairs == averaged.pairs.positive_pairs


def test_a_written_scene_reads_back_the_same(scene: Scene, tmp_path: Path) -> None:
    prepared = prepare_scene(scene, [[0, 0, 1, 2, 2, 2]], PrepareConfig())
    write_prepared(prepared, tmp_path)
    scenes = PreparedScenes(tmp_path)
    assert scenes.scenes() == [scene.scene_id] and scene.scene_id in scenes
    read = scenes[scene.scene_id]
    assert (read.frame_names, read.labels) == (prepared.frame_names, prepared.labels)
    for name, tensor in _tensors(prepared).items():
        assert torch.equal(getattr(read, name), tensor), name


def test_a_scene_without_proposals_can_be_written(scene: Scene, tmp_path: Path) -> None:
    assert write_prepared(prepare_scene(scene, None, PrepareConfig()), tmp_path).is_file()


def test_frames_are_squashed_and_chosen_together_with_all_else(scene: Scene) -> None:
    config = PrepareConfig(image_size=32, grid=2, num_frames=3)
    prepared = prepare_scene(scene, None, config)
    assert prepared.images.shape == (3, 32, 32, 3)
    assert prepared.frame_names == tuple(scene.frame_names[index] for index in (0, 3, 7))
    whole = prepare_scene(scene, None, PrepareConfig(image_size=32, grid=2))
    assert torch.equal(prepared.coordinates, whole.coordinates[[0, 3, 7]])


def test_invalid_depth_never_enters_a_mean(scene: Scene) -> None:
    depth = scene.depth.copy()
    depth[:, ::2] = 0
    prepared = prepare_scene(dataclasses.replace(scene, depth=depth), None, PrepareConfig())
    whole = prepare_scene(scene, None, PrepareConfig())
    assert (prepared.counts == 128).all()
    assert (prepared.coordinates - whole.coordinates).abs().median() < 0.05


def test_chosen_frames_without_depth_are_refused(scene: Scene) -> None:
    depth = scene.depth.copy()
    depth[[0, 7]] = 0
    with pytest.raises(SceneError, match="chosen frames has valid depth"):
        prepare_scene(dataclasses.replace(scene, depth=depth), None, PrepareConfig(num_frames=2))


def test_a_scene_that_was_not_prepared_is_named(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="scene attic: was not prepared"):
        PreparedScenes(tmp_path)["attic"]


def test_a_damaged_file_is_named(scene: Scene, tmp_path: Path) -> None:
    path = write_prepared(prepare_scene(scene, None, PrepareConfig()), tmp_path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(SceneError, match="cannot be read"):
        PreparedScenes(tmp_path)[scene.scene_id]


def test_a_written_world_can_be_prepared(small_world: Path, tmp_path: Path) -> None:
    source = RGBDFolder(small_world)
    proposals = read_candidates(small_world / "proposals" / "val.json")
    for scene_id in source.scenes("val"):
        prepared = prepare_scene(source.load(scene_id), proposals[scene_id], PrepareConfig())
        assert len(prepared.proposals) == len(proposals[scene_id])
        assert np.isfinite(prepared.coordinates.numpy()).all()
        assert (prepared.object_weights.flatten(1).sum(1) > 0).all()
