"""Every contradiction that once passed in silence is refused; what is right passes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from threedrs_components.scenes.cross_checks import Check
from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.scene import make_scene
from threedrs_components.scenes.preparation_report import preparation_report
from threedrs_components.scenes.prepare_config import ChecksConfig
from threedrs_components.scenes.prepared import (
    PrepareConfig,
    prepare_scene,
    write_prepared,
)
from threedrs_components.scenes.rgbd_folder import RGBDFolder
from threedrs_platform.errors import SceneError
from threedrs_platform.records import Boxes, Float32, Scene

SETTINGS = PrepareConfig(num_frames=8, image_size=48)
AGREEMENT = "agreement of overlapping views is"
GAIN = "gain of another reading is"


def _posed(scene: Scene, poses: Float32) -> Scene:
    return dataclasses.replace(scene, camera_to_world=poses.astype(np.float32))


def _depth_times(factor: float) -> Callable[[Scene], Scene]:
    return lambda scene: dataclasses.replace(scene, depth=scene.depth * np.float32(factor))


def _world_to_camera(scene: Scene) -> Scene:
    return _posed(scene, np.linalg.inv(scene.camera_to_world))


def _opengl_axes(scene: Scene) -> Scene:
    return _posed(scene, scene.camera_to_world @ np.diag([1, -1, -1, 1]))


def _depth_resized(scene: Scene) -> Scene:
    return dataclasses.replace(scene, depth=scene.depth[:, ::2, ::2])


def _rotation_with_scale(scene: Scene) -> Scene:
    return _posed(scene, scene.camera_to_world * np.array([[1.05, 1.05, 1.05, 1.0]]))


def _wide_color(scene: Scene) -> Scene:
    """Colour of 16:9 over the same depth, its middle the same."""
    height, width = scene.images.shape[1:3]
    more = (height * 16 // 9 - width) // 2
    images = np.pad(scene.images, ((0, 0), (0, 0), (more, more), (0, 0)), mode="edge")
    intrinsics = scene.color_intrinsics.copy()
    intrinsics[0, 2] += more
    return dataclasses.replace(scene, images=images, color_intrinsics=intrinsics)


def _narrow_color(scene: Scene) -> Scene:
    """Colour of a longer lens."""
    longer = scene.color_intrinsics * np.array([[1.15], [1.15], [1.0]], np.float32)
    longer[:, 2] = scene.color_intrinsics[:, 2]
    return dataclasses.replace(scene, color_intrinsics=longer)


CONTRADICTIONS: dict[str, tuple[Callable[[Scene], Scene], tuple[str, ...]]] = {
    "depth x 5": (_depth_times(5), (AGREEMENT, GAIN, "depth times 0.2")),
    "depth / 5": (_depth_times(0.2), (AGREEMENT, GAIN, "depth times 5")),
    "4000 read as 5000": (_depth_times(0.8), (GAIN, "depth times 1.25")),
    "metres read as millimetres": (_depth_times(1000), (AGREEMENT, "longest side of the room")),
    "world-to-camera": (_world_to_camera, (AGREEMENT, GAIN, "they are world-to-camera")),
    "OpenGL axes": (_opengl_axes, (AGREEMENT, GAIN, "OpenGL axes")),
    "depth resized": (_depth_resized, ("offset of the depth camera's principal point is",)),
    "rotation with scale": (_rotation_with_scale, ("rotation error of poses is",)),
    "colour 16:9": (_wide_color, ("mismatch of what colour and depth show is",)),
    "colour of another lens": (_narrow_color, ("mismatch of what colour and depth show is",)),
}


def micro_room(index: int, seed: int = 0) -> Scene:
    return make_scene(MicroWorldConfig(seed=seed), "val", index).record()


@pytest.fixture(scope="module")
def kitchen(redkitchen: Path) -> Scene:
    return RGBDFolder(redkitchen, num_frames=8).load("redkitchen")


def verdicts(checks: tuple[Check, ...]) -> set[str]:
    return {check.verdict for check in checks}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("index", range(3))
def test_rendered_rooms_contradict_nothing(seed: int, index: int) -> None:
    scene = micro_room(index, seed)
    assert scene.objects is not None
    prepared = prepare_scene(scene, scene.objects.boxes, SETTINGS)
    assert len(prepared.checks) == 9 and verdicts(prepared.checks) == {"passed"}


def test_real_frames_contradict_nothing(kitchen: Scene) -> None:
    assert verdicts(prepare_scene(kitchen, None, SETTINGS).checks) == {"passed"}


@pytest.mark.parametrize("name", CONTRADICTIONS)
@pytest.mark.parametrize("room", ["rendered", "real"])
def test_a_contradiction_is_refused(name: str, room: str, request: pytest.FixtureRequest) -> None:
    scene = micro_room(0) if room == "rendered" else request.getfixturevalue("kitchen")
    contradict, told = CONTRADICTIONS[name]
    with pytest.raises(SceneError) as caught:
        prepare_scene(contradict(scene), None, SETTINGS)
    assert caught.value.scene_id == scene.scene_id
    for words in told:
        assert words in caught.value.reason


def _aligned_as_scannet(boxes: Float32) -> Float32:
    """Boxes in an aligned frame that lies to the unaligned one as that of scene0000_00 does."""
    turned = boxes.copy()
    turned[:, :2] = boxes[:, :2] @ np.array([[0.9455, -0.3256], [0.3256, 0.9455]])
    turned[:, :2] += [-5.384, -2.872]
    return turned


@pytest.mark.parametrize("index", range(3))
def test_boxes_of_another_frame_than_the_scene_are_refused(index: int) -> None:
    scene = micro_room(index)
    assert scene.objects is not None
    moved = _aligned_as_scannet(scene.objects.boxes)
    with pytest.raises(SceneError, match=r"share of proposals that hold a pixel is .* axis-"):
        prepare_scene(scene, moved, SETTINGS)
    ids, labels = scene.objects.object_ids, scene.objects.labels
    aligned = dataclasses.replace(scene, objects=Boxes(ids, labels, moved))
    with pytest.raises(SceneError, match="share of objects that hold a pixel is"):
        prepare_scene(aligned, None, SETTINGS)


def test_views_that_agree_less_than_sensors_do_are_worth_a_look() -> None:
    scene = micro_room(0)
    wide = scene.depth_intrinsics.copy()
    wide[[0, 1], [0, 1]] *= 1.25
    checks = prepare_scene(
        dataclasses.replace(scene, depth_intrinsics=wide, color_intrinsics=wide), None, SETTINGS
    ).checks
    [check] = [each for each in checks if each.name.startswith("median relative error")]
    assert check.verdict == "warning" and "focal lengths" in check.advice


def test_what_is_told_only_is_kept_beside_the_scene(tmp_path: Path) -> None:
    scene = dataclasses.replace(_depth_times(5)(micro_room(0)), dropped_frames={"x": "pose lost"})
    settings = SETTINGS.model_copy(update={"checks": ChecksConfig(mode="tell")})
    prepared = prepare_scene(scene, None, settings)
    write_prepared(prepared, tmp_path)
    report = preparation_report(tmp_path)
    assert report["dropped_frames"] == 1
    assert "1 frames left out: 1 x pose lost (first x)" in report["warnings"][0]
    assert any(GAIN in line and "depth times 0.2" in line for line in report["warnings"])
    check = report["scenes"][scene.scene_id]["checks"]["agreement of overlapping views"]
    assert check["verdict"] == "refused" and check["low"] == 0.7
    assert report["worst"]["agreement of overlapping views"]["lowest"] == check["value"]


def test_checks_can_be_left_out_and_change_no_number() -> None:
    scene = micro_room(0)
    settings = SETTINGS.model_copy(update={"checks": ChecksConfig(mode="skip")})
    unchecked, checked = prepare_scene(scene, None, settings), prepare_scene(scene, None, SETTINGS)
    assert unchecked.checks == ()
    assert (unchecked.coordinates == checked.coordinates).all()
    prepare_scene(_depth_times(5)(scene), None, settings)


def test_two_views_or_views_from_one_place_tell_nothing() -> None:
    scene = micro_room(0)
    still = _posed(scene, np.tile(scene.camera_to_world[:1], (8, 1, 1)))
    still = dataclasses.replace(still, depth=np.tile(scene.depth[:1], (8, 1, 1)))
    for few, settings in (
        (scene, SETTINGS.model_copy(update={"num_frames": 2})),
        (still, SETTINGS),
    ):
        checks = {check.name: check for check in prepare_scene(few, None, settings).checks}
        assert checks["agreement of overlapping views"].verdict == "not measured"
