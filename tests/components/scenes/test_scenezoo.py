"""ScanNet++ and ARKitScenes through scenezoo, held against downloads of an independent writer."""

from __future__ import annotations

import errno
import json
import shutil
import socket
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from threedrs_components.scenes.clip_names import scene_of
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.prepared import prepare_scene, scene_points
from threedrs_components.scenes.scenezoo import ScenezooConfig
from threedrs_components.testing.zoo_downloads import (
    QUARTER_TURNS,
    YAW,
    Film,
    shoot,
    write_arkitscenes,
    write_scannetpp,
    write_video,
)
from threedrs_platform.errors import ConfigError, DataError, SceneError, StorageError
from threedrs_platform.records import Scene

PLUS, APPLE = "0a7cc12c0e", "41069021"
FRAMES, WITHOUT_POSE = 7, (2,)
KEPT = [0, 1, 3, 4, 5, 6]
MILLIMETRE = 0.0015
"""Depth is kept in whole ones, and a ray that leaves at an angle is longer than its z-depth."""

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ImportWarning")
needs_scenezoo = pytest.mark.skipif(
    find_spec("scenezoo") is None, reason="the extra is not installed: pip install -e '.[scenes]'"
)


@pytest.fixture(scope="module")
def plus_film() -> Film:
    return shoot(FRAMES)


@pytest.fixture(scope="module")
def apple_film() -> Film:
    return shoot(FRAMES, sky="Left", seed=1)


@pytest.fixture(scope="module")
def plus(plus_film: Film, tmp_path_factory: pytest.TempPathFactory) -> ScenezooConfig:
    root = tmp_path_factory.mktemp("scannetpp")
    write_scannetpp(plus_film, root, PLUS, WITHOUT_POSE)
    return settings("scannetpp", root, PLUS)


@pytest.fixture(scope="module")
def apple(apple_film: Film, tmp_path_factory: pytest.TempPathFactory) -> ScenezooConfig:
    root = tmp_path_factory.mktemp("arkitscenes")
    write_arkitscenes(apple_film, root, APPLE, sky="Left", without_pose=WITHOUT_POSE)
    return settings("arkitscenes", root, APPLE)


def settings(dataset: str, root: Path, scene_id: str, **more: Any) -> ScenezooConfig:
    (root / "train.txt").write_text(f"{scene_id}\n\n")
    (root / "val.txt").write_text("")
    lists = {split: str(root / f"{split}.txt") for split in ("train", "val")}
    given = {"dataset": dataset, "root": str(root), "split_files": lists, "min_frames": 2, **more}
    return ScenezooConfig.model_validate(given)


def load(config: ScenezooConfig, **more: Any) -> Scene:
    source = config.model_copy(update=more).open(Path())
    return source.load(source.scenes("train")[0])


def error_m(scene: Scene, points: np.ndarray) -> float:
    """Largest distance of a pixel's point to the true one, metres."""
    found, valid = scene_points(scene)
    assert valid.all()
    return float(np.linalg.norm(found.numpy() - points, axis=-1).max())


@needs_scenezoo
def test_points_and_colours_of_scannetpp_are_those_that_were_filmed(
    plus: ScenezooConfig, plus_film: Film
) -> None:
    scene = load(plus)
    assert scene.frame_names == tuple(f"frame_{number:06d}" for number in KEPT)
    assert scene.images.shape == (len(KEPT), 1440, 1920, 3)
    assert error_m(scene, plus_film.points[KEPT]) < MILLIMETRE
    assert np.abs(small(scene) - plus_film.images[KEPT]).mean() < 4


def small(scene: Scene) -> np.ndarray:
    """Colours at the middle of each pixel of depth."""
    rows, columns = (
        np.rint((np.arange(size) + 0.5) * scene.images.shape[axis] / size - 0.5).astype(int)
        for axis, size in ((1, scene.depth.shape[1]), (2, scene.depth.shape[2]))
    )
    return scene.images[:, rows][:, :, columns].astype(float)


@needs_scenezoo
@pytest.mark.parametrize("sensor", [None, "mov"])
def test_arkitscenes_is_turned_until_the_sky_is_above_or_left_as_it_was(
    apple: ScenezooConfig, apple_film: Film, sensor: str | None, tmp_path: Path
) -> None:
    if sensor == "mov":
        apple = copied(apple, tmp_path)
        write_video(tmp_path / f"copy/raw/Training/{APPLE}/{APPLE}.mov", list(apple_film.images))
    upright = load(apple, sensor=sensor)
    assert upright.depth.shape == (len(KEPT), 256, 192)
    assert (upright.camera_to_world[:, 2, 1] < -0.5).all(), "down in the image is down in the room"
    turned = np.rot90(apple_film.points[KEPT], -1, axes=(1, 2))
    assert error_m(upright, turned) < MILLIMETRE
    colors = np.rot90(apple_film.images[KEPT], -1, axes=(1, 2)).astype(float)
    assert np.abs(small(upright) - colors).mean() < (4 if sensor else 1e-9)
    as_recorded = load(apple, sensor=sensor, rotate_to_up=False)
    assert as_recorded.depth.shape == (len(KEPT), 192, 256)
    assert error_m(as_recorded, apple_film.points[KEPT]) < MILLIMETRE


@needs_scenezoo
@pytest.mark.parametrize("sky", QUARTER_TURNS)
def test_wherever_the_sky_is_it_comes_above(sky: str, tmp_path: Path) -> None:
    film = shoot(2, sky=sky, seed=2)
    write_arkitscenes(film, tmp_path, APPLE, sky=sky)
    scene = load(settings("arkitscenes", tmp_path, APPLE))
    assert (scene.camera_to_world[:, 2, 1] < -0.5).all()
    assert error_m(scene, np.rot90(film.points, -QUARTER_TURNS[sky], axes=(1, 2))) < MILLIMETRE


@needs_scenezoo
def test_boxes_of_scannetpp_are_those_of_its_vertices(
    plus: ScenezooConfig, plus_film: Film
) -> None:
    objects = load(plus, num_frames=2).objects
    assert objects is not None
    assert objects.object_ids == (*range(1, len(plus_film.objects.boxes) + 1), 90)
    assert objects.labels == (*plus_film.objects.labels, "part")
    expected = [*plus_film.objects.boxes, plus_film.objects.boxes[0]]
    np.testing.assert_allclose(objects.boxes, expected, atol=1e-5)


@needs_scenezoo
def test_boxes_of_arkitscenes_hold_its_oriented_ones(
    apple: ScenezooConfig, apple_film: Film
) -> None:
    objects = load(apple, num_frames=2).objects
    assert objects is not None and objects.labels == apple_film.objects.labels
    true = apple_film.objects.boxes
    turn = np.abs([[np.cos(YAW), np.sin(YAW), 0], [np.sin(YAW), np.cos(YAW), 0], [0, 0, 1]])
    expected = np.concatenate([true[:, :3], true[:, 3:] @ turn.T], axis=1)
    np.testing.assert_allclose(objects.boxes, expected, atol=1e-5)


@needs_scenezoo
def test_a_scene_without_annotations_has_no_objects(plus: ScenezooConfig, tmp_path: Path) -> None:
    copy = copied(plus, tmp_path)
    shutil.rmtree(tmp_path / "copy/data" / PLUS / "scans")
    assert load(copy, num_frames=2).objects is None


@needs_scenezoo
@pytest.mark.parametrize(("wanted", "numbers"), [(3, [0, 3, 6]), (1, [0]), (50, KEPT)])
def test_frames_are_spread_over_those_that_have_a_pose(
    apple: ScenezooConfig, wanted: int, numbers: list[int]
) -> None:
    scene = load(apple, num_frames=wanted, min_frames=1)
    assert scene.frame_names == tuple(f"{APPLE}_{5000 + n / 60:.3f}" for n in numbers)


@needs_scenezoo
def test_cameras_that_zoom_become_one(tmp_path: Path) -> None:
    film = shoot(3, zoom=0.06)
    write_arkitscenes(film, tmp_path, APPLE)
    scene = load(settings("arkitscenes", tmp_path, APPLE))
    assert scene.depth_intrinsics[0, 0] == pytest.approx(film.intrinsics[1, 0, 0])
    assert (scene.depth[1] > 0).all() and 0 < (scene.depth[2] == 0).mean() < 0.1


def copied(config: ScenezooConfig, tmp_path: Path) -> ScenezooConfig:
    shutil.copytree(config.root, tmp_path / "copy")
    return config.model_copy(update={"root": str(tmp_path / "copy")})


def frame_file(folder: Path, name: str, number: int) -> Path:
    return sorted((folder / name).iterdir())[number]


@needs_scenezoo
def test_a_bad_frame_leaves_its_scene_and_is_told(apple: ScenezooConfig, tmp_path: Path) -> None:
    copy = copied(apple, tmp_path)
    folder = tmp_path / "copy/raw/Training" / APPLE
    frame_file(folder, "lowres_depth", 4).write_bytes(b"no image")
    frame_file(folder, "lowres_wide_intrinsics", 5).unlink()
    frame_file(folder, "lowres_wide_intrinsics", 1).write_text("256 192 nan 200 128 96")
    scene = load(copy)
    depth, blind, lost = (f"{APPLE}_{5000 + number / 60:.3f}" for number in (4, 1, 5))
    assert len(scene.frame_names) == 3
    assert scene.dropped_frames.keys() == {depth, blind, lost}
    assert "Cannot decode image" in scene.dropped_frames[depth]
    assert "positive focals" in scene.dropped_frames[blind]
    with pytest.raises(SceneError, match="3 frames can be used, min_frames is 4; "):
        load(copy, min_frames=4)


@needs_scenezoo
def test_a_pose_that_scales_is_none(plus: ScenezooConfig, tmp_path: Path) -> None:
    copy = copied(plus, tmp_path)
    path = tmp_path / "copy/data" / PLUS / "iphone/pose_intrinsic_imu.json"
    records = json.loads(path.read_text())
    pose = np.array(records["frame_000003"]["aligned_pose"])
    pose[:3, :3] *= 1.1
    records["frame_000003"]["aligned_pose"] = pose.tolist()
    path.write_text(json.dumps(records))
    scene = load(copy)
    assert "frame_000003" not in scene.frame_names
    assert "not rigid" in scene.dropped_frames["frame_000003"]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def instead(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


DAMAGED: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "plus: no depth": ("iphone/depth.bin", Path.unlink, "FileNotFoundError"),
    "plus: empty depth": ("iphone/depth.bin", instead(""), "DataFormatError"),
    "plus: no video": ("iphone/rgb.mkv", Path.unlink, "FileNotFoundError"),
    "plus: a video that is none": ("iphone/rgb.mkv", instead("none"), "Unable to open video"),
    "plus: poses in a list": ("iphone/pose_intrinsic_imu.json", instead("[]"), "AttributeError"),
    "plus: poses cut": ("iphone/pose_intrinsic_imu.json", cut, "Invalid JSON"),
    "plus: no poses": ("iphone/pose_intrinsic_imu.json", instead("{}"), "Invalid ScanNet"),
    "plus: mesh cut": ("scans/mesh_aligned_0.05.ply", cut, "scenezoo"),
    "plus: segments of another mesh": (
        "scans/segments.json",
        instead('{"segIndices": [0, 1]}'),
        "segment",
    ),
    "plus: groups in a list": ("scans/segments_anno.json", instead("[]"), "TypeError"),
    "apple: six columns": ("lowres_wide.traj", instead("1 2 3 4 5 6\n"), "trajectory"),
    "apple: no pose": ("lowres_wide.traj", instead(""), "0 frames can be used"),
    "apple: no depth": ("lowres_depth", shutil.rmtree, "FileNotFoundError"),
    "apple: boxes without a centre": (
        f"{APPLE}_3dod_annotation.json",
        instead('{"data": [{"label": "x", "segments": {"obbAligned": {}}}]}'),
        "Invalid ARKitScenes OBB",
    ),
    "apple: boxes of NaN": (
        f"{APPLE}_3dod_annotation.json",
        instead(
            '{"data": [{"label": "x", "segments": {"obbAligned": {"centroid": [NaN, 0, 0], '
            '"axesLengths": [1, 1, 1], "normalizedAxes": [1, 0, 0, 0, 1, 0, 0, 0, 1]}}}]}'
        ),
        "not finite",
    ),
}


@needs_scenezoo
@pytest.mark.parametrize("damage", DAMAGED)
def test_whatever_the_library_raises_is_the_scenes_fault(
    damage: str,
    plus: ScenezooConfig,
    apple: ScenezooConfig,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    name, harm, reason = DAMAGED[damage]
    config, scene_id = (plus, PLUS) if damage.startswith("plus") else (apple, APPLE)
    copy = copied(config, tmp_path)
    folder = copy.open(tmp_path)._folder(scene_of(config.dataset, scene_id))
    harm(folder / name)
    with pytest.raises(SceneError, match=reason) as refused:
        load(copy, num_frames=2)
    assert refused.value.scene_id == scene_of(config.dataset, scene_id)
    assert capfd.readouterr() == ("", "")


class Library:
    """Fails at the first file of a scene."""

    def __init__(self, error: Exception, wrapped: bool) -> None:
        self.error, self.wrapped = error, wrapped

    def get_frames(self, *_: Any, **how: Any) -> None:
        if not self.wrapped:
            raise self.error
        try:
            raise self.error
        except Exception as error:
            raise RuntimeError("Cannot decode image") from error


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    ("error", "blamed"),
    [
        (MemoryError(), StorageError),
        (OSError(errno.EIO, "Input/output error"), StorageError),
        (OSError(errno.EMFILE, "Too many open files"), StorageError),
        (FileNotFoundError(errno.ENOENT, "No such file"), SceneError),
        (OSError("broken data stream"), SceneError),
        (ValueError("x"), SceneError),
    ],
)
def test_the_machines_faults_are_not_the_scenes(
    error: Exception, blamed: type[Exception], wrapped: bool, apple: ScenezooConfig
) -> None:
    source = apple.open(Path())
    vars(source)["_library"] = Library(error, wrapped)
    with pytest.raises(blamed):
        source.load(f"arkitscenes.{APPLE}")


@needs_scenezoo
def test_nothing_is_fetched(apple: ScenezooConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(socket.socket, "connect", refused)
    assert load(apple, num_frames=2).scene_id == f"arkitscenes.{APPLE}"


def test_arkitscenes_without_its_metadata_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"metadata\.csv: missing"):
        settings("arkitscenes", tmp_path, APPLE).open(tmp_path)


def test_scenes_are_called_as_questions_about_their_videos_call_them(
    plus: ScenezooConfig, apple: ScenezooConfig
) -> None:
    for config, name in ((plus, PLUS), (apple, APPLE)):
        source = config.open(Path())
        assert source.splits() == ["all", "train", "val"]
        assert source.scenes("all") == source.scenes("train") == [scene_of(config.dataset, name)]


@pytest.mark.parametrize("lists", [None, {}, {"train": "T"}])
def test_lists_of_train_and_val_are_demanded(lists: dict[str, str] | None) -> None:
    given = {"dataset": "scannetpp", "root": "x"} | (
        {} if lists is None else {"split_files": lists}
    )
    with pytest.raises(ValidationError, match="split_files"):
        ScenezooConfig.model_validate(given)


@pytest.mark.parametrize("name", ["../41069021", "..", "/etc", "a/b", "", "41069021.x"])
def test_a_scene_id_leads_nowhere_else(name: str, apple: ScenezooConfig, tmp_path: Path) -> None:
    for scene_id in (name, f"arkitscenes.{name}", APPLE, f"scannetpp.{APPLE}"):
        with pytest.raises(SceneError, match="no name of a scene"):
            apple.open(tmp_path).load(scene_id)
    (tmp_path / "val.txt").write_text(f"{APPLE}\n{name or ' x y '}\n")
    lists = {"val": str(tmp_path / "val.txt")}
    with pytest.raises(DataError, match=r"val.txt: line 2: .* is no name of a scene"):
        apple.model_copy(update={"split_files": lists}).open(tmp_path)


def test_a_sensor_of_the_other_data_set_is_refused() -> None:
    with pytest.raises(ValidationError, match="scannetpp has none; it has iphone"):
        ScenezooConfig(
            dataset="scannetpp", root="x", split_files={"train": "T", "val": "V"}, sensor="mov"
        )


def test_without_the_extra_it_is_named(
    apple: ScenezooConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "scenezoo", None)
    with pytest.raises(ConfigError, match=r"pip install -e '\.\[scenes\]'"):
        load(apple)


@needs_scenezoo
def test_both_become_what_a_student_reads(plus: ScenezooConfig, apple: ScenezooConfig) -> None:
    config = PrepareConfig(image_size=48, grid=4, num_frames=4)
    for source in (plus, apple):
        scene = load(source)
        prepared = prepare_scene(scene, None, config)
        assert prepared.images.shape == (4, 48, 48, 3) and bool((prepared.counts > 0).all())
        assert scene.objects is not None and prepared.labels == scene.objects.labels
        assert bool((prepared.object_weights.sum(dim=(1, 2, 3)) > 0).any())
