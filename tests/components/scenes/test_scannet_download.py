from __future__ import annotations

import dataclasses
import io
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from threedrs_components.scenes.boxes import read_scene_boxes
from threedrs_components.scenes.embodiedscan import FrameList
from threedrs_components.scenes.png import depth_png
from threedrs_components.scenes.rgbd_folder import load_folder
from threedrs_components.scenes.scannet_download.convert import convert_scene
from threedrs_components.scenes.scannet_download.layout import Download, SceneFiles, read_splits
from threedrs_components.scenes.scannet_download.masks import read_proposals
from threedrs_components.scenes.scannet_download.ply import read_vertices
from threedrs_components.scenes.scannet_download.scene_record import (
    ConversionConfig,
    SceneJob,
    finished,
    read_record,
)
from threedrs_components.scenes.scannet_download.sens import SensorStream
from threedrs_components.testing.scannet_download import (
    Truth,
    write_mask_npz,
    write_ply,
    write_scannet_download,
    write_sens,
)
from threedrs_components.testing.scannet_fuzz import fuzz
from threedrs_platform.errors import DataError, SceneError

SCENE = "val00000"
HEADER = 12 + len("StructureSensor")
"""Byte of a written stream where its matrices begin."""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Truth]]:
    root = tmp_path_factory.mktemp("download")
    return root, write_scannet_download(root)


@pytest.fixture
def job(written: tuple[Path, dict[str, Truth]], tmp_path: Path) -> SceneJob:
    """The scene with masks, its files copied so that they may be damaged."""
    root, _ = written
    folder = tmp_path / "scans" / SCENE
    folder.mkdir(parents=True)
    for path in (root / "scans" / SCENE).iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    masks = tmp_path / f"{SCENE}.mask.npz"
    masks.write_bytes((root / "mask" / masks.name).read_bytes())
    files = SceneFiles(SCENE, folder, False)
    return SceneJob(files, "val", tmp_path / "out", ConversionConfig(), None, masks)


@pytest.fixture
def truth(written: tuple[Path, dict[str, Truth]]) -> Truth:
    return written[1][SCENE]


def test_every_tenth_of_all_frames_is_written_and_those_with_a_pose_are_listed(
    job: SceneJob,
) -> None:
    scene = convert_scene(job)
    assert scene.frames_in_stream == 31 and scene.frames == 4 and scene.without_pose == 1
    assert scene.listed == ["00000", "00020", "00030"]  # the tenth has no pose
    assert sorted(path.stem for path in job.folder.glob("*.jpg")) == [
        "00000", "00010", "00020", "00030",
    ]  # fmt: skip
    assert "-inf" in (job.folder / "00010.txt").read_text()


def test_boxes_belong_to_the_last_group_and_keep_the_ids_of_the_annotation(
    written: tuple[Path, dict[str, Truth]], tmp_path: Path
) -> None:
    root, truths = written
    truth = truths["train00000"]
    files = SceneFiles("train00000", root / "scans/train00000", False)
    scene = convert_scene(SceneJob(files, "train", tmp_path, ConversionConfig()))
    assert {int(key) for key in scene.boxes} == truth.boxes.keys()
    (gap,) = scene.vanished
    assert gap not in truth.boxes and gap < max(truth.boxes)
    for key, box in scene.boxes.items():
        np.testing.assert_allclose(box, truth.boxes[int(key)], atol=1e-6)
    objects, alignment = read_scene_boxes("train00000", tmp_path / "train00000/boxes.json")
    assert objects.object_ids == tuple(truth.boxes) and "floor" in objects.labels
    np.testing.assert_allclose(alignment, truth.alignment, atol=1e-6)


def test_an_object_that_is_annotated_twice_keeps_its_box_under_both_ids(job: SceneJob) -> None:
    before = convert_scene(job).boxes
    content = json.loads(job.files.groups.read_text())
    ids = [group["objectId"] for group in content["segGroups"]]
    again = [{**g, "objectId": g["objectId"] + len(ids)} for g in content["segGroups"]]
    job.files.groups.write_text(json.dumps({**content, "segGroups": content["segGroups"] + again}))
    scene = convert_scene(job)
    for key, box in before.items():
        assert scene.boxes[key] == scene.boxes[str(int(key) + len(ids))] == box
    assert len(scene.vanished) == 2 and "are annotated twice" in scene.remarks[0]


def test_the_folder_is_read_as_the_room_that_was_written(
    written: tuple[Path, dict[str, Truth]], job: SceneJob, truth: Truth
) -> None:
    listed = convert_scene(job).listed
    scene = load_folder(SCENE, job.folder, frame_names=listed)
    source = load_folder(SCENE, written[0] / "world/scenes" / SCENE)
    chosen = [int(name) for name in listed]
    assert (scene.depth == source.depth[chosen]).all()
    np.testing.assert_allclose(
        scene.axis_alignment @ scene.camera_to_world, source.camera_to_world[chosen], atol=1e-5
    )
    np.testing.assert_allclose(scene.depth_intrinsics, source.depth_intrinsics, atol=1e-5)
    away = np.abs(scene.images.astype(int) - source.images[chosen]).mean()
    assert away < 8  # JPEG of 32 pixels


def test_colour_is_copied_byte_for_byte_unless_it_is_to_be_encoded_again(job: SceneJob) -> None:
    with SensorStream(SCENE, job.files.stream) as stream:
        stored = next(iter(stream.frames({0}))).color
    convert_scene(job)
    assert (job.folder / "00000.jpg").read_bytes() == stored
    config = ConversionConfig(jpeg="reencode")
    convert_scene(dataclasses.replace(job, config=config))
    again = (job.folder / "00000.jpg").read_bytes()
    assert again != stored and Image.open(io.BytesIO(again)).size == (32, 32)


def test_masks_become_boxes_in_both_forms_and_empty_ones_are_counted(
    written: tuple[Path, dict[str, Truth]], job: SceneJob, truth: Truth
) -> None:
    text = written[0] / "mask3d_text" / f"{SCENE}.txt"
    for masks in (job.masks, text):
        scene = convert_scene(dataclasses.replace(job, masks=masks))
        assert scene.proposals is not None and scene.empty_masks == 1
        np.testing.assert_allclose(scene.proposals, list(truth.boxes.values()), atol=1e-6)
    config = ConversionConfig(max_proposals=2)
    assert len(convert_scene(dataclasses.replace(job, config=config)).proposals or ()) == 2


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
def test_every_sparse_form_that_scipy_saves_is_read(form: str, tmp_path: Path) -> None:
    masks = np.random.default_rng(0).random((5, 60)) < 0.2
    masks[3] = False
    points = np.random.default_rng(1).random((60, 3))
    write_mask_npz(tmp_path / "m.npz", masks, form)
    found = read_proposals("s", tmp_path / "m.npz", points, 50)
    assert found.empty == 1 and len(found.boxes) == 4
    inside = points[masks[4]]
    np.testing.assert_allclose(found.boxes[3, 3:], inside.max(axis=0) - inside.min(axis=0))


@pytest.mark.parametrize("is_text", [True, False])
def test_a_mesh_is_read_in_ascii_and_binary(is_text: bool, tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    write_ply(tmp_path / "m.ply", points, ascii_form=is_text)
    np.testing.assert_array_equal(read_vertices("s", tmp_path / "m.ply"), points)


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (48, 64)])
def test_depth_survives_png_to_the_bit(shape: tuple[int, int]) -> None:
    depth = np.random.default_rng(0).integers(0, 1 << 16, shape).astype(np.uint16)
    with Image.open(io.BytesIO(depth_png(depth))) as image:
        assert image.mode == "I;16" and (np.asarray(image) == depth).all()


def test_raw_and_png_streams_are_read_and_occi_is_named(tmp_path: Path) -> None:
    path, depth = tmp_path / "s.sens", np.full((3, 4), 1500, np.uint16)
    pixels = np.arange(36, dtype=np.uint8).reshape(3, 4, 3)
    intrinsics = np.diag([4.0, 4.0, 1.0, 1.0])
    intrinsics[:2, 2] = 1.5, 1.0
    write_sens(path, intrinsics, [(np.eye(4), pixels.tobytes(), depth)])
    content = bytearray(path.read_bytes())
    content[HEADER + 256 : HEADER + 260] = struct.pack("<i", 0)
    path.write_bytes(content)
    with SensorStream("s", path) as stream:
        (frame,) = stream.frames({0})
        assert (stream.depth(frame) == 1500).all()
        assert Image.open(io.BytesIO(stream.jpeg(frame))).size == (4, 3)
    content[HEADER + 260 : HEADER + 264] = struct.pack("<i", 2)
    path.write_bytes(content)
    with pytest.raises(SceneError, match="occi"):
        SensorStream("s", path)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _patched(at: int, content: bytes) -> Callable[[Path], None]:
    def patch(path: Path) -> None:
        whole = path.read_bytes()
        path.write_bytes(whole[:at] + content + whole[at + len(content) :])

    return patch


def _json(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def rewrite(path: Path) -> None:
        content = json.loads(path.read_text())
        changed = change(content)
        path.write_text(json.dumps(content if changed is None else changed))

    return rewrite


SENS, PLY = ".sens", "_vh_clean_2.ply"
SEGS, GROUPS, TEXT = "_vh_clean_2.0.010000.segs.json", ".aggregation.json", ".txt"
COUNT = HEADER + 256 + 8 + 16 + 4
"""Byte of a written stream that begins its number of frames."""


@pytest.mark.parametrize(
    ("ending", "damage", "reason"),
    [
        (SENS, _cut, r"frame \d+ is cut off: its \d+ bytes begin at byte \d+, the file ends at"),
        (SENS, _patched(0, b"\3"), "no .sens stream of version 4: version is 3"),
        (SENS, _patched(COUNT, bytes(8)), "header claims 0 frames"),
        (SENS, _patched(COUNT, struct.pack("<Q", 10**12)), "claims 1000000000000 frames"),
        (SENS, _patched(COUNT + 8 + 96, b"junk"), "colour of frame 0 cannot be read"),
        (SENS, _patched(HEADER + 268, struct.pack("<I", 33)), "of frame 0 cannot be read"),
        (SENS, lambda path: path.write_bytes(b""), "header is cut off"),
        (SENS, Path.unlink, "stream is missing"),
        (PLY, _cut, "vertices, .* bytes follow"),
        (PLY, lambda path: write_ply(path, np.zeros((7, 3), np.float32)), "mesh has 7 vertices"),
        (SEGS, _json(lambda content: content.update(segIndices=[1])), "it has 1 entries"),
        (
            SEGS,
            _json(lambda content: content.update(sceneId="scene0707_00")),
            "of the scene scene0",
        ),
        (GROUPS, _json(lambda content: [1]), "a JSON object was expected, this is a list"),
        (
            GROUPS,
            _json(lambda content: content.update(segmentsFile="x_vh_clean.segs.json")),
            "it groups the segments of x_vh_clean.segs.json",
        ),
        (TEXT, lambda path: path.write_text("axisAlignment = 1 2 3"), "cannot reshape"),
        (TEXT, Path.unlink, "file of the axis alignment is missing"),
    ],
)
def test_a_damaged_file_is_named_with_its_reason(
    job: SceneJob, ending: str, damage: Callable[[Path], object], reason: str
) -> None:
    damage(job.files.folder / (SCENE + ending))
    with pytest.raises(SceneError, match=reason) as caught:
        convert_scene(job)
    assert caught.value.scene_id == SCENE and str(job.files.folder) in str(caught.value)
    assert not list((job.out).glob("*")) and not list(job.out.glob(".*"))


def test_masks_of_another_mesh_are_refused(job: SceneJob) -> None:
    assert job.masks is not None
    write_mask_npz(job.masks, np.ones((2, 9), bool))
    with pytest.raises(SceneError, match="masks are of 9 vertices"):
        convert_scene(job)


def test_a_mask_outside_its_folder_is_not_opened(job: SceneJob, tmp_path: Path) -> None:
    listing = tmp_path / f"{SCENE}.txt"
    listing.write_text("../../etc/passwd 1 0.5\n")
    with pytest.raises(SceneError, match="lies outside its folder"):
        convert_scene(dataclasses.replace(job, masks=listing))


def test_a_mesh_of_another_room_is_refused_though_its_size_fits(job: SceneJob) -> None:
    points = read_vertices(SCENE, job.files.mesh)
    write_ply(job.files.mesh, points + np.array([9, 9, 0], np.float32))
    with pytest.raises(SceneError, match="0% of its boxes hold a point of its frames"):
        convert_scene(job)


def test_a_stream_cut_behind_the_last_wanted_frame_is_used_and_said(job: SceneJob) -> None:
    config = ConversionConfig(frame_step=20)
    _cut_tail = job.files.stream.read_bytes()[:-300]
    job.files.stream.write_bytes(_cut_tail)
    scene = convert_scene(dataclasses.replace(job, config=config))
    assert scene.frames == 2 and "behind the last wanted frame" in scene.remarks[0]


def test_a_frame_count_that_is_too_low_is_said(job: SceneJob) -> None:
    _patched(COUNT, struct.pack("<Q", 25))(job.files.stream)
    assert "the frame count may be wrong" in convert_scene(job).remarks[0]


def test_a_test_scene_needs_no_annotation_and_stays_as_it_was_scanned(job: SceneJob) -> None:
    for ending in (SEGS, GROUPS, TEXT, PLY):
        (job.files.folder / (SCENE + ending)).unlink()
    files = dataclasses.replace(job.files, is_test=True)
    scene = convert_scene(dataclasses.replace(job, files=files, split="test", masks=None))
    assert scene.axis_alignment == np.eye(4).tolist() and not scene.boxes
    assert "no axisAlignment" in scene.remarks[0]


def test_infos_decide_which_frames_are_listed(job: SceneJob, truth: Truth) -> None:
    names = ("00005", *(f"{index:05d}" for index in range(20, 28)))
    matrix = truth.alignment.astype(np.float32)
    intrinsics = load_folder_intrinsics(job)
    listed = FrameList(names, matrix, intrinsics)
    scene = convert_scene(dataclasses.replace(job, listed=listed))
    assert scene.listed == list(names) and scene.frames == 12
    for wrong, reason in (
        (
            dataclasses.replace(listed, frame_names=(*names[:7], "00003", "00010")),
            "2 of 9 frames that EmbodiedScan lists have no pose .first 00003.; 8 must be left",
        ),
        (dataclasses.replace(listed, frame_names=("00310",)), "lists frame 00310, the stream has"),
        (
            dataclasses.replace(listed, axis_alignment=np.eye(4, dtype=np.float32)),
            "alignment is not",
        ),
        (dataclasses.replace(listed, depth_intrinsics=intrinsics * 2), "intrinsics are not"),
    ):
        with pytest.raises(SceneError, match=reason):
            convert_scene(dataclasses.replace(job, listed=wrong))


def test_a_listed_frame_without_a_pose_is_left_out_and_said(job: SceneJob, truth: Truth) -> None:
    names = [f"{index:05d}" for index in range(2, 11)]
    alignment = truth.alignment.astype(np.float32)
    listed = FrameList(tuple(names), alignment, load_folder_intrinsics(job))
    long = dataclasses.replace(listed, frame_names=(*names, "00020"))
    scene = convert_scene(dataclasses.replace(job, listed=long))
    assert scene.listed == ["00002", *names[2:-1], "00020"]
    assert scene.remarks == [
        "2 of 10 frames that EmbodiedScan lists have no pose (first 00003) and are left out"
    ]


def load_folder_intrinsics(job: SceneJob) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    with SensorStream(SCENE, job.files.stream) as stream:
        return stream.header.depth_intrinsics[:3, :3]


def test_a_scene_is_finished_until_its_inputs_or_settings_change(job: SceneJob) -> None:
    assert finished(job) is None
    made = convert_scene(job)
    assert finished(job) == made
    other = dataclasses.replace(job, config=ConversionConfig(frame_step=5))
    assert finished(other) is None
    assert job.masks is not None
    write_mask_npz(job.masks, np.ones((2, 9), bool))
    assert finished(job) is None
    with pytest.raises(SceneError, match="masks are of"):
        convert_scene(job)
    assert (job.folder / "00000.jpg").is_file() and finished(job) is None
    job.files.stream.unlink()  # nothing can make it again, but it is not whole either
    assert finished(job) is None


def test_a_corrected_alignment_is_noticed_though_masks_have_a_file_of_the_same_name(
    written: tuple[Path, dict[str, Truth]], job: SceneJob
) -> None:
    text = written[0] / "mask3d_text" / f"{SCENE}.txt"
    job = dataclasses.replace(job, masks=text)
    made = convert_scene(job)
    assert finished(job) == made
    path = job.files.alignment
    path.write_text(path.read_text().replace("axisAlignment = ", "axisAlignment =  "))
    assert finished(job) is None


def test_a_changed_mask_that_the_text_lists_is_noticed(
    written: tuple[Path, dict[str, Truth]], job: SceneJob, tmp_path: Path
) -> None:
    folder = shutil.copytree(written[0] / "mask3d_text", tmp_path / "text")
    job = dataclasses.replace(job, masks=folder / f"{SCENE}.txt")
    made = convert_scene(job)
    assert finished(job) == made
    mask = next((folder / "pred_mask").iterdir())
    mask.write_bytes(mask.read_bytes() + b"\n")
    assert finished(job) is None


def test_a_finished_scene_outlives_its_stream_and_inputs(job: SceneJob) -> None:
    made = convert_scene(job)
    job.files.stream.unlink()
    job.files.groups.unlink()
    assert finished(job) == made


def test_without_its_stream_a_scene_gets_the_boxes_and_masks_of_now(job: SceneJob) -> None:
    assert job.masks is not None
    made = convert_scene(job)
    frames = {path.name: path.read_bytes() for path in job.folder.glob("0*")}
    job.files.stream.unlink()
    content = json.loads(job.files.groups.read_text())
    content["segGroups"][1]["label"] = "throne"
    job.files.groups.write_text(json.dumps(content))
    aside = job.masks.rename(job.masks.with_suffix(".aside"))
    assert finished(job) is None
    now = convert_scene(dataclasses.replace(job, masks=None))
    assert "throne" in read_scene_boxes(SCENE, job.folder / "boxes.json")[0].labels
    assert (now.proposals, now.boxes, now.listed) == (None, made.boxes, made.listed)
    assert now.boxes_with_points == made.boxes_with_points
    assert {path.name: path.read_bytes() for path in job.folder.glob("0*")} == frames
    assert finished(job) == now
    aside.rename(job.masks)
    assert finished(job) is None and convert_scene(job).proposals == made.proposals


def test_without_its_stream_a_scene_that_cannot_be_made_stays_as_it_is(job: SceneJob) -> None:
    made = convert_scene(job)
    job.files.stream.unlink()
    with pytest.raises(SceneError, match="other settings would need it"):
        convert_scene(dataclasses.replace(job, config=ConversionConfig(frame_step=5)))
    job.files.groups.write_text("[]")
    with pytest.raises(SceneError, match="a JSON object was expected"):
        convert_scene(job)
    assert read_record(job.folder) == made and not list(job.out.glob(".*"))


def test_a_picture_that_claims_to_be_huge_costs_its_scene_and_no_more(job: SceneJob) -> None:
    content = job.files.stream.read_bytes()
    start = content.index(b"\xff\xc0") + 5  # of the first frame's height and width
    job.files.stream.write_bytes(content[:start] + b"\xff\xff\xff\xff" + content[start + 4 :])
    with pytest.raises(SceneError, match="colour of frame 0 cannot be read: DecompressionBomb"):
        convert_scene(job)


@pytest.mark.parametrize("name", ["../x", "/etc", "a/b", "..", "", "x\0y"])
def test_a_scene_that_climbs_is_refused(written: tuple[Path, dict[str, Truth]], name: str) -> None:
    with pytest.raises(SceneError, match="is no name of a scene"):
        Download(written[0]).files(name)


def test_lists_and_labels_are_found_and_a_scene_of_two_splits_is_refused(
    written: tuple[Path, dict[str, Truth]], tmp_path: Path
) -> None:
    download = Download(written[0])
    assert download.scenes() == ["train00000", "train00001", SCENE]
    assert [path.name for path in download.split_files()] == [
        "scannetv2_train.txt", "scannetv2_val.txt",
    ]  # fmt: skip
    table = tmp_path / "scans"
    table.mkdir()
    lists = tmp_path / "meta/lists"
    lists.mkdir(parents=True)
    (lists / "scannetv2-labels.combined.tsv").write_text("")
    assert Download(tmp_path).label_table() == lists / "scannetv2-labels.combined.tsv"
    for split in ("train", "val"):
        (tmp_path / f"mine_{split}.txt").write_text("scene0000_00\n")
    with pytest.raises(DataError, match="scene0000_00 is in the split train, too"):
        read_splits([tmp_path / "mine_train.txt", tmp_path / "mine_val.txt"])
    with pytest.raises(DataError, match="no ScanNet download"):
        Download(tmp_path / "nowhere")


def test_two_hundred_damaged_files_are_refused_or_read_as_they_could_be() -> None:
    counted = fuzz(200, seed=7)
    assert sum(counted.values()) == 200
    refused = sum(number for verdict, number in counted.items() if verdict.outcome == "refused")
    assert 100 < refused < 200
