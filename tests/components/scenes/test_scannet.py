from __future__ import annotations

import errno
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from threedrs_components.scenes import embodiedscan
from threedrs_components.scenes.boxes import read_box_lists, read_candidates
from threedrs_components.scenes.embodiedscan import read_frame_lists
from threedrs_components.scenes.rgbd_folder import RGBDFolderConfig
from threedrs_components.scenes.scannet import AllImages, ScanNet, ScanNetConfig
from threedrs_components.scenes.splits import scenes_of
from threedrs_platform.errors import (
    AnnotationError,
    ConfigError,
    DataError,
    SceneError,
    StorageError,
)

NAMES = [f"{index * 10:05d}" for index in range(5)]


@pytest.fixture
def infos() -> dict[str, Any]:
    """As released: the first frame has no pose and is not listed; other data sets are mixed in."""
    alignment = np.eye(4)
    alignment[:2, :2] = [[0, -1], [1, 0]]
    entry = {
        "sample_idx": "scannet/scene0000_00",
        "images": [{"img_path": f"scannet/posed_images/scene0000_00/{n}.jpg"} for n in NAMES[1:]],
        "axis_align_matrix": alignment,
        "depth_cam2img": np.diag([7.0, 7.0, 1.0, 1.0]),
    }
    return {"metainfo": {}, "data_list": [entry, {"sample_idx": "3rscan/abc"}]}


@pytest.fixture
def config(tmp_path: Path, infos: dict[str, Any]) -> ScanNetConfig:
    folder = tmp_path / "posed_images" / "scene0000_00"
    folder.mkdir(parents=True)
    for name in NAMES:
        Image.new("RGB", (8, 6)).save(folder / f"{name}.jpg")
        Image.fromarray(np.full((6, 8), 1500, np.uint16)).save(folder / f"{name}.png")
        pose = np.full((4, 4), -np.inf) if name == NAMES[0] else np.eye(4)
        np.savetxt(folder / f"{name}.txt", pose)
    for name in ("intrinsic.txt", "depth_intrinsic.txt"):
        np.savetxt(folder / name, np.diag([9.0, 9.0, 1.0, 1.0]))
    (tmp_path / "infos.pkl").write_bytes(pickle.dumps(infos))
    boxes = {"scannet/scene0000_00": [[0, 0, 0, 1, 1, 1], [1, 1, 1, 2, 2, 2]]}
    (tmp_path / "boxes.json").write_text(json.dumps(boxes))
    return ScanNetConfig(
        posed_images=str(tmp_path / "posed_images"),
        frame_lists={"train": str(tmp_path / "infos.pkl")},
        boxes=(str(tmp_path / "boxes.json"),),
        num_frames=2,
        min_frames=2,
    )


def test_only_listed_frames_are_chosen(config: ScanNetConfig) -> None:
    source = ScanNet(config)
    assert source.scenes("train") == ["scene0000_00"]
    assert source.load("scene0000_00").frame_names == (NAMES[1], NAMES[4])


def test_all_images_are_chosen_whether_they_have_a_pose_or_not(config: ScanNetConfig) -> None:
    source = AllImages(ScanNet(config))
    assert source.scenes("train") == ["scene0000_00"]
    scene = source.load("scene0000_00")
    assert scene.frame_names == (NAMES[0], NAMES[4])
    assert scene.images.shape == (2, 6, 8, 3) and not scene.depth.any()


def test_only_scannet_has_images_beside_its_frame_list(config: ScanNetConfig) -> None:
    assert config.has_all_images
    assert isinstance(config.open_all_images(Path()), AllImages)
    with pytest.raises(ConfigError, match="no images beside their frame list"):
        RGBDFolderConfig(root=config.posed_images).open_all_images(Path())


def test_alignment_intrinsics_and_boxes_come_from_the_lists(config: ScanNetConfig) -> None:
    scene = ScanNet(config).load("scene0000_00")
    assert scene.axis_alignment[0, 1] == -1
    assert scene.depth_intrinsics[0, 0] == 7 and scene.color_intrinsics[0, 0] == 9
    assert scene.objects is not None and scene.objects.object_ids == (0, 1)


def test_a_json_list_reads_the_same(
    config: ScanNetConfig, infos: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "infos.json"
    path.write_text(json.dumps(infos, default=lambda value: value.tolist()))
    from_json = read_frame_lists(path)["scene0000_00"]
    from_pickle = read_frame_lists(tmp_path / "infos.pkl")["scene0000_00"]
    assert from_json.frame_names == from_pickle.frame_names
    np.testing.assert_array_equal(from_json.axis_alignment, from_pickle.axis_alignment)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "infos.pkl"
    path.write_bytes(pickle.dumps({"data_list": [print]}))
    with pytest.raises(DataError, match=r"refuses to load builtins.print"):
        read_frame_lists(path)


@pytest.mark.parametrize("name", ["..", "", "a/b", "x y"])
def test_a_list_names_no_scene_that_is_no_folder(
    infos: dict[str, Any], name: str, tmp_path: Path
) -> None:
    infos["data_list"][0]["sample_idx"] = f"scannet/{name}"
    (tmp_path / "other.pkl").write_bytes(pickle.dumps(infos))
    with pytest.raises(DataError, match="names no folder of a scene"):
        read_frame_lists(tmp_path / "other.pkl")


def test_a_key_twice_in_a_json_list_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "infos.json"
    path.write_text('{"data_list": [], "data_list": []}')
    with pytest.raises(DataError, match="'data_list' occurs twice"):
        read_frame_lists(path)


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (OSError(errno.EIO, "Input/output error"), StorageError, "Input/output error"),
        (MemoryError(), DataError, "it is damaged, or this machine too small"),
    ],
)
def test_a_failing_disk_and_a_lack_of_memory_are_told_from_damage(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: Exception,
    kind: type[Exception],
    reason: str,
) -> None:
    def load(unpickler: pickle.Unpickler) -> None:
        raise error

    monkeypatch.setattr(embodiedscan._DataUnpickler, "load", load)
    (tmp_path / "infos.pkl").write_bytes(b"")
    with pytest.raises(kind, match=reason):
        read_frame_lists(tmp_path / "infos.pkl")


def test_a_list_without_its_keys_says_which_are_needed(tmp_path: Path) -> None:
    path = tmp_path / "infos.json"
    path.write_text(json.dumps({"data_list": [{"sample_idx": "scannet/scene0000_00"}]}))
    with pytest.raises(DataError, match="axis_align_matrix"):
        read_frame_lists(path)


def test_all_splits_together_and_unknown_ones(config: ScanNetConfig) -> None:
    assert ScanNet(config).scenes("all") == ["scene0000_00"]
    with pytest.raises(DataError, match="known: all, train"):
        ScanNet(config).scenes("val")


def test_what_is_written_names_splits_and_proposals_and_no_place(
    config: ScanNetConfig, tmp_path: Path
) -> None:
    proposals = tmp_path / "pred.json"
    proposals.write_text(json.dumps({"scannet/scene0000_00": [[0, 0, 1, 2, 2, 2]]}))
    folder = tmp_path / "artifact"
    folder.mkdir()
    with_boxes = config.model_copy(update={"proposals": (str(proposals),)})
    with_boxes.write(folder, "student", lambda *_: None)
    assert scenes_of(folder, "train") == scenes_of(folder, "all") == ["scene0000_00"]
    assert with_boxes.open(folder).load("scene0000_00").frame_names == (NAMES[1], NAMES[4])
    read = read_candidates(folder / "proposals" / "boxes.json")
    assert read["scene0000_00"].tolist() == [[0, 0, 1, 2, 2, 2]]
    for path in folder.rglob("*.json"):
        assert str(tmp_path) not in path.read_text()


def test_a_scene_with_other_boxes_in_a_second_file_is_refused(
    config: ScanNetConfig, tmp_path: Path
) -> None:
    second = tmp_path / "later.json"
    second.write_text(json.dumps({"scannet/scene0000_00": [[0, 0, 1, 2, 2, 2]]}))
    paths = (*config.boxes, str(second))
    several = config.model_copy(update={"boxes": paths, "proposals": paths})
    with pytest.raises(AnnotationError, match=r"later.json: record scene0000_00: scene: has other"):
        ScanNet(several)
    (tmp_path / "artifact").mkdir()
    with pytest.raises(AnnotationError, match=r"scene0000_00: scene: has other boxes in .*boxes"):
        several.write(tmp_path / "artifact", "student", lambda *_: None)


def test_proposals_are_handed_on_to_the_last_bit(config: ScanNetConfig, tmp_path: Path) -> None:
    given = tmp_path / "pred.json"
    box = [0.1234567890123, 0, 1, 1 / 3, 2, 2]
    given.write_text(json.dumps({"scannet/scene0000_00": [box], "scene0001_00": {"4": box}}))
    folder = tmp_path / "artifact"
    folder.mkdir()
    with_boxes = config.model_copy(update={"proposals": (str(given),)})
    with_boxes.write(folder, "student", lambda *_: None)
    found = read_box_lists(folder / "proposals" / "boxes.json")
    assert found["scene0000_00"].exact.tolist() == [box] and found["scene0001_00"].ids == (4,)


def test_an_unlisted_scene_is_refused(config: ScanNetConfig) -> None:
    with pytest.raises(SceneError, match="in no EmbodiedScan frame list"):
        ScanNet(config).load("scene0001_00")


def test_a_listed_frame_without_image_is_left_out_and_told(config: ScanNetConfig) -> None:
    (Path(config.posed_images) / "scene0000_00" / f"{NAMES[4]}.jpg").unlink()
    scene = ScanNet(config).load("scene0000_00")
    assert NAMES[4] not in scene.frame_names and len(scene.frame_names) == config.num_frames
    assert scene.dropped_frames == {NAMES[4]: "is listed but has no colour file"}


def test_a_folder_of_chosen_frames_only_gives_the_same_choice(config: ScanNetConfig) -> None:
    chosen = ScanNet(config).load("scene0000_00").frame_names
    folder = Path(config.posed_images) / "scene0000_00"
    for path in folder.glob("*.jpg"):
        if path.stem not in chosen:
            path.unlink()
    scene = ScanNet(config).load("scene0000_00")
    assert (scene.frame_names, scene.dropped_frames) == (chosen, {})
