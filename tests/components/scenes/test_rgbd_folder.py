from __future__ import annotations

import errno
import io
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.rgbd_folder import RGBDFolder, RGBDFolderConfig
from threedrs_platform.errors import DataError, SceneError, StorageError


def test_one_scene_folder_is_a_source_of_one_scene(scene_folder: Any) -> None:
    source = RGBDFolder(scene_folder.root)
    assert source.scenes() == ["kitchen"]
    scene = source.load("kitchen")
    assert scene.frame_names == ("frame-000000", "frame-000001", "frame-000002")
    assert scene.images.shape == (3, 6, 8, 3) and scene.images.dtype == np.uint8
    assert scene.depth.shape == (3, 6, 8) and 0.5 <= scene.depth.min() <= scene.depth.max() < 3


def test_a_folder_of_scene_folders_lists_them_sorted(scene_folder: Any) -> None:
    for name in ("b", "a"):
        (scene_folder.root.parent / name).symlink_to(scene_folder.root)
    (scene_folder.root.parent / "notes").mkdir()
    assert RGBDFolder(scene_folder.root.parent).scenes() == ["a", "b", "kitchen"]


def test_hidden_folders_are_no_scenes(scene_folder: Any) -> None:
    (scene_folder.root.parent / ".trash").symlink_to(scene_folder.root)
    assert RGBDFolder(scene_folder.root.parent).scenes() == ["kitchen"]


def test_depth_of_65535_means_no_reading(scene_folder: Any) -> None:
    depth = np.full((6, 8), 1234, dtype=np.uint16)
    depth[0, :3] = [0, 65535, 65534]
    scene_folder.write_depth("frame-000001", depth)
    read = RGBDFolder(scene_folder.root).load("kitchen").depth[1]
    np.testing.assert_allclose(read[0, :4], [0, 0, 65.534, 1.234])


def test_scannet_names_are_understood(tmp_path: Path) -> None:
    folder = tmp_path / "scene0000_00"
    folder.mkdir()
    for name in ("00010", "00000"):
        Image.new("RGB", (16, 12), "red").save(folder / f"{name}.jpg")
        Image.fromarray(np.full((6, 8), 2000, np.uint16)).save(folder / f"{name}.png")
        np.savetxt(folder / f"{name}.txt", np.eye(4))
    np.savetxt(folder / "intrinsic.txt", np.diag([10.0, 10.0, 1.0, 1.0]))
    np.savetxt(folder / "depth_intrinsic.txt", np.diag([5.0, 5.0, 1.0, 1.0]))
    scene = RGBDFolder(tmp_path).load("scene0000_00")
    assert scene.frame_names == ("00000", "00010")
    assert scene.images.shape == (2, 12, 16, 3) and scene.depth.shape == (2, 6, 8)
    assert scene.color_intrinsics[0, 0] == 10 and scene.depth_intrinsics[0, 0] == 5


def test_boxes_and_alignment_come_from_boxes_json(scene_folder: Any) -> None:
    alignment = np.diag([1.0, -1.0, -1.0, 1.0])
    boxes = {
        "object_ids": [4],
        "labels": ["chair"],
        "boxes": [[1, 2, 3, 1, 1, 1]],
        "axis_alignment": alignment.tolist(),
    }
    (scene_folder.root / "boxes.json").write_text(json.dumps(boxes))
    scene = RGBDFolder(scene_folder.root).load("kitchen")
    assert scene.objects is not None and scene.objects.labels == ("chair",)
    np.testing.assert_array_equal(scene.axis_alignment, alignment)


def test_fewer_frames_are_chosen_evenly(scene_folder: Any) -> None:
    source = RGBDFolderConfig(root=str(scene_folder.root), num_frames=2).open(scene_folder.root)
    assert source.load("kitchen").frame_names == ("frame-000000", "frame-000002")


def _without_pose(folder: Any) -> None:
    (folder.root / "frame-000001.pose.txt").unlink()


def _without_depth(folder: Any) -> None:
    (folder.root / "frame-000001.depth.png").unlink()


def _without_intrinsics(folder: Any) -> None:
    (folder.root / "camera-intrinsics.txt").unlink()


def _with_nan_pose(folder: Any) -> None:
    folder.write_matrix("frame-000001.pose.txt", np.full((4, 4), np.nan))


def _with_infinite_pose(folder: Any) -> None:
    folder.write_matrix("frame-000001.pose.txt", np.full((4, 4), -np.inf))


def _with_small_pose(folder: Any) -> None:
    folder.write_matrix("frame-000001.pose.txt", np.eye(3))


def _with_transposed_pose(folder: Any) -> None:
    pose = np.eye(4)
    pose[3, :3] = 1.0
    folder.write_matrix("frame-000001.pose.txt", pose)


def _with_words_as_pose(folder: Any) -> None:
    (folder.root / "frame-000001.pose.txt").write_text("lost lost lost lost\n")


def _with_truncated_color(folder: Any) -> None:
    path = folder.root / "frame-000001.color.png"
    path.write_bytes(path.read_bytes()[:-30])


def _with_truncated_depth(folder: Any) -> None:
    path = folder.root / "frame-000001.depth.png"
    path.write_bytes(path.read_bytes()[:60])


def _with_empty_depth(folder: Any) -> None:
    (folder.root / "frame-000001.depth.png").write_bytes(b"")


def _with_smaller_depth(folder: Any) -> None:
    folder.write_depth("frame-000001", np.full((5, 8), 1000, np.uint16))


def _with_color_as_depth(folder: Any) -> None:
    color = (folder.root / "frame-000001.color.png").read_bytes()
    (folder.root / "frame-000001.depth.png").write_bytes(color)


def _without_valid_depth(folder: Any) -> None:
    for name in folder.names:
        folder.write_depth(name, np.zeros((6, 8), np.uint16))


def _with_bad_intrinsics(folder: Any) -> None:
    folder.write_matrix("camera-intrinsics.txt", np.diag([0.0, 5.0, 1.0]))


def _with_short_boxes(folder: Any) -> None:
    boxes = {"object_ids": [0], "labels": ["chair"], "boxes": [[0, 0, 0]]}
    (folder.root / "boxes.json").write_text(json.dumps(boxes))


def _with_scaled_pose(folder: Any) -> None:
    folder.write_matrix("frame-000001.pose.txt", np.diag([1.05, 1.05, 1.05, 1.0]))


def _with_mirroring_pose(folder: Any) -> None:
    folder.write_matrix("frame-000001.pose.txt", np.diag([1.0, 1.0, -1.0, 1.0]))


BAD_FRAME: dict[Callable[[Any], None], str] = {
    _without_pose: "pose file is missing",
    _without_depth: "depth image is missing",
    _with_nan_pose: "NaN or infinity",
    _with_infinite_pose: "NaN or infinity",
    _with_small_pose: "must be 4x4",
    _with_transposed_pose: "last row",
    _with_words_as_pose: "not a matrix of numbers",
    _with_scaled_pose: "not rigid",
    _with_mirroring_pose: "not rigid",
    _with_truncated_color: "colour image: image cannot be decoded",
    _with_truncated_depth: "depth image: image cannot be decoded",
    _with_empty_depth: "depth image: image cannot be decoded",
    _with_smaller_depth: "8 x 6 and 8 x 5, those of the other frames are 8 x 6 and 8 x 6",
    _with_color_as_depth: "one-channel 16-bit",
}

BAD: dict[Callable[[Any], None], tuple[str, str]] = {
    _without_intrinsics: ("intrinsics file is missing", "camera-intrinsics.txt"),
    _without_valid_depth: ("no pixel of any frame has valid depth", "kitchen"),
    _with_bad_intrinsics: ("positive focals", "camera-intrinsics.txt"),
    _with_short_boxes: ("boxes.json needs", "boxes.json"),
}


@pytest.mark.parametrize("spoil", BAD_FRAME, ids=lambda spoil: spoil.__name__.strip("_"))
def test_a_bad_frame_leaves_its_scene_and_is_told(
    scene_folder: Any, spoil: Callable[[Any], None]
) -> None:
    spoil(scene_folder)
    scene = RGBDFolder(scene_folder.root, min_frames=2).load("kitchen")
    assert scene.frame_names == ("frame-000000", "frame-000002")
    assert len(scene.images) == len(scene.depth) == len(scene.camera_to_world) == 2
    assert [*scene.dropped_frames] == ["frame-000001"]
    assert BAD_FRAME[spoil] in scene.dropped_frames["frame-000001"]
    with pytest.raises(SceneError, match="2 of 3 frames are usable"):
        RGBDFolder(scene_folder.root, min_frames=3).load("kitchen")


def test_the_choice_is_made_among_good_frames(scene_folder: Any) -> None:
    """First among those with a pose; again among the rest when one cannot be decoded."""
    for index in range(3, 9):
        for ending in ("color.png", "depth.png", "pose.txt"):
            first = scene_folder.root / f"frame-000000.{ending}"
            shutil.copy(first, scene_folder.root / f"frame-{index:06d}.{ending}")
    source = RGBDFolder(scene_folder.root, num_frames=3, min_frames=7)
    assert source.load("kitchen").frame_names == tuple(f"frame-00000{n}" for n in (0, 4, 8))
    (scene_folder.root / "frame-000008.pose.txt").unlink()
    assert source.load("kitchen").frame_names == tuple(f"frame-00000{n}" for n in (0, 3, 7))
    (scene_folder.root / "frame-000003.color.png").write_bytes(b"")
    scene = source.load("kitchen")
    assert scene.frame_names == tuple(f"frame-00000{n}" for n in (0, 4, 7))
    assert [*scene.dropped_frames] == ["frame-000008", "frame-000003"]


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__.strip("_"))
def test_a_bad_scene_is_refused_with_its_name_file_and_reason(
    scene_folder: Any, spoil: Callable[[Any], None]
) -> None:
    spoil(scene_folder)
    reason, file = BAD[spoil]
    with pytest.raises(SceneError) as caught:
        RGBDFolder(scene_folder.root).load("kitchen")
    assert caught.value.scene_id == "kitchen"
    assert reason in caught.value.reason
    assert caught.value.path is not None and caught.value.path.endswith(file)


def sens_reader_folder(root: Path, numbers: Sequence[int]) -> Path:
    """A scene as ScanNet's SensReader writes it: numbers without padding, a folder per kind."""
    for name in ("color", "depth", "pose", "intrinsic"):
        (root / name).mkdir(parents=True)
    for number in numbers:
        Image.new("RGB", (16, 12), (number, 0, 0)).save(root / f"color/{number}.jpg")
        Image.fromarray(np.full((6, 8), 2000, np.uint16)).save(root / f"depth/{number}.png")
        np.savetxt(root / f"pose/{number}.txt", np.eye(4))
    np.savetxt(root / "intrinsic/intrinsic_color.txt", np.diag([10.0, 10.0, 1.0, 1.0]))
    np.savetxt(root / "intrinsic/intrinsic_depth.txt", np.diag([5.0, 5.0, 1.0, 1.0]))
    return root


def test_sens_reader_folders_are_read_in_order_of_number(tmp_path: Path) -> None:
    sens_reader_folder(tmp_path / "scene0000_00", range(0, 240, 20))
    source = RGBDFolder(tmp_path, num_frames=4)
    assert source.scenes() == ["scene0000_00"]
    scene = source.load("scene0000_00")
    assert scene.frame_names == ("0", "60", "140", "220")
    assert scene.color_intrinsics[0, 0] == 10 and scene.depth_intrinsics[0, 0] == 5


@pytest.mark.parametrize(
    ("ending", "values", "scale"),
    [
        (".png", np.full((6, 8), 8000, np.uint16), 4000),
        (".npy", np.full((6, 8), 10000, np.uint16), 5000),
        (".npy", np.full((6, 8), 2.0, np.float32), 5000),
        (".npz", np.full((6, 8), 2.0, np.float64), 1000),
        (".tiff", np.full((6, 8), 2.0, np.float32), 1000),
    ],
)
def test_depth_has_a_scale_or_is_in_metres(
    scene_folder: Any, ending: str, values: NDArray[Any], scale: float
) -> None:
    for name in scene_folder.names:
        (scene_folder.root / f"{name}.depth.png").unlink()
        path = scene_folder.root / f"{name}.depth{ending}"
        if ending == ".npy":
            np.save(path, values)
        elif ending == ".npz":
            np.savez_compressed(path, values)
        else:
            Image.fromarray(values).save(path)
    settings = RGBDFolderConfig(root=str(scene_folder.root), depth_scale=scale)
    scene = settings.open(scene_folder.root).load("kitchen")
    assert scene.depth.dtype == np.float32 and (scene.depth == 2.0).all()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.with_suffix(".npy").write_bytes(_npy_header((1 << 40, 1 << 20))),
        lambda path: path.with_suffix(".npz").write_bytes(b"PK nothing"),
        lambda path: path.with_suffix(".exr").write_bytes(b"v/1\x01"),
    ],
)
def test_a_bad_array_drops_its_frame(scene_folder: Any, spoil: Callable[[Path], None]) -> None:
    path = scene_folder.root / "frame-000001.depth.png"
    path.unlink()
    spoil(path)
    scene = RGBDFolder(scene_folder.root, min_frames=2).load("kitchen")
    assert scene.dropped_frames["frame-000001"].startswith("depth image: ")


def _npy_header(shape: tuple[int, int]) -> bytes:
    stream = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


def test_a_folder_without_frames_says_what_is_understood_and_what_was_found(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "mesh.ply").write_bytes(b"ply")
    with pytest.raises(DataError, match=r"7-Scenes: frame-000000.*Found notes/, 1 x \.ply"):
        RGBDFolder(tmp_path).scenes()


def test_an_unknown_split_names_the_known_ones(small_world: Path) -> None:
    with pytest.raises(DataError, match="known: all, probe, text, train, val"):
        RGBDFolder(small_world).scenes("test")


def test_real_frames_are_read(redkitchen: Path) -> None:
    source = RGBDFolder(redkitchen, num_frames=3)
    assert source.scenes() == ["redkitchen"]
    scene = source.load("redkitchen")
    assert scene.frame_names == ("frame-000000", "frame-000475", "frame-000975")
    assert scene.images.shape == (3, 480, 640, 3)
    assert scene.depth[scene.depth > 0].min() > 0.3 and scene.depth.max() < 10
    assert 0.0 < (scene.depth == 0).mean() < 0.5
    np.testing.assert_allclose(scene.depth_intrinsics[0], [585, 0, 320])


def test_a_disk_that_fails_is_no_bad_frame(
    scene_folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the frame would be left out of a result that is kept as that of the whole scene."""

    def fail(path: Path) -> Any:
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(StorageError, match="Input/output error"):
        RGBDFolder(scene_folder.root, min_frames=1).load("kitchen")


def test_of_two_colour_files_of_a_frame_the_first_by_name_counts(scene_folder: Any) -> None:
    white = np.full((6, 8, 3), 255, np.uint8)
    Image.fromarray(white).save(scene_folder.root / "frame-000001.color.jpg")
    scene = RGBDFolder(scene_folder.root).load("kitchen")
    assert len(scene.frame_names) == 3 and (scene.images[1] == 255).all()


@pytest.mark.parametrize("inside", ["", "room", "scenes/room"])
def test_the_shape_of_frames_is_that_of_one_that_is_here(inside: str, tmp_path: Path) -> None:
    config = RGBDFolderConfig(root=str(tmp_path))
    assert config.frame_shape() is None
    (tmp_path / inside / "color").mkdir(parents=True)
    Image.new("RGB", (32, 18)).save(tmp_path / inside / "color" / "frame_7.png")
    assert config.frame_shape() == (18, 32)
    (tmp_path / inside / "color" / "frame_7.png").write_text("no picture")
    assert config.frame_shape() is None


def test_frames_of_the_micro_world_are_squares() -> None:
    assert MicroWorldConfig(image_size=48).frame_shape() == (48, 48)


def test_frames_are_as_flat_as_those_of_the_flattest_scene(tmp_path: Path) -> None:
    config = RGBDFolderConfig(root=str(tmp_path))
    assert config.frame_shape() is None
    for name, size in (("a", (40, 30)), ("b", (32, 18)), ("c", (20, 20))):
        (tmp_path / name).mkdir()
        Image.new("RGB", size).save(tmp_path / name / "frame-000000.color.png")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "frame-000000.color.png").write_text("no picture")
    assert config.frame_shape() == (18, 32)
