from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from threedrs_components.scenes.boxes import read_candidates
from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.control import (
    ObjectTraces,
    content_free_r2,
    join_traces,
    object_traces,
)
from threedrs_components.scenes.micro.instances import read_instances
from threedrs_components.scenes.micro.proposals import propose
from threedrs_components.scenes.micro.rooms import (
    random_cameras,
    random_layout,
    scene_generator,
)
from threedrs_components.scenes.micro.scene import make_scene
from threedrs_components.scenes.micro.write import write_world
from threedrs_components.scenes.rgbd_folder import RGBDFolder
from threedrs_platform.errors import SceneError

SMALL = MicroWorldConfig(train=9, text=4, val=4, teacher_scenes=3)
"""The configuration of the `small_world` fixture."""


def _digest(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()


def test_a_written_scene_reads_back_within_half_a_millimetre(small_world: Path) -> None:
    source = RGBDFolder(small_world)
    micro = make_scene(SMALL, "val", 1)
    read, exact = source.load(micro.scene_id), micro.record()
    assert read.frame_names == exact.frame_names
    np.testing.assert_array_equal(read.images, exact.images)
    np.testing.assert_array_equal(read.camera_to_world, exact.camera_to_world)
    np.testing.assert_array_equal(read.depth_intrinsics, exact.depth_intrinsics)
    assert np.abs(read.depth - exact.depth).max() <= 0.000501
    assert read.objects is not None and exact.objects is not None
    assert read.objects.labels == exact.objects.labels
    np.testing.assert_allclose(read.objects.boxes, exact.objects.boxes, atol=1e-4)


def test_splits_are_disjoint_and_text_and_probe_are_parts_of_train(small_world: Path) -> None:
    splits = json.loads((small_world / "splits.json").read_text())
    assert {name: len(ids) for name, ids in splits.items()} == {
        "train": 9,
        "text": 4,
        "probe": 3,
        "val": 4,
    }
    assert splits["text"] == splits["train"][:4] and splits["probe"] == splits["train"][-3:]
    assert not set(splits["train"]) & set(splits["val"])
    assert RGBDFolder(small_world).scenes() == sorted(splits["train"] + splits["val"])


def test_other_processes_with_another_hash_seed_write_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = MicroWorldConfig(train=4, text=4, val=4, image_size=16, num_frames=2)
    write_world(config, tmp_path / "here", workers=1)
    monkeypatch.setenv("PYTHONHASHSEED", "4321")
    write_world(config, tmp_path / "elsewhere", workers=2)
    assert _digest(tmp_path / "here") == _digest(tmp_path / "elsewhere")


def test_progress_counts_every_scene(tmp_path: Path) -> None:
    config = MicroWorldConfig(train=2, text=1, val=1, image_size=16, num_frames=2)
    calls: list[tuple[int, int, str]] = []
    write_world(config, tmp_path, progress=lambda *call: calls.append(call))
    assert calls == [(1, 3, "train00000"), (2, 3, "train00001"), (3, 3, "val00000")]


def test_a_teacher_world_has_scenes_of_its_own_and_no_text(
    small_world: Path, tmp_path: Path
) -> None:
    world = write_world(SMALL, tmp_path, "teacher")
    assert world["scenes"] == {"train": 2, "val": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "scenes",
        "splits.json",
        "world.json",
    ]
    source, student = RGBDFolder(tmp_path), RGBDFolder(small_world)
    theirs = {student.load(scene).camera_to_world.tobytes() for scene in student.scenes()}
    assert not theirs & {source.load(scene).camera_to_world.tobytes() for scene in source.scenes()}


def test_annotations_have_the_keys_of_the_real_files(small_world: Path) -> None:
    keys = {
        "ScanRefer_filtered": "scene_id object_id object_name ann_id description token task",
        "Scan2Cap": "scene_id object_id object_name ann_id description token task",
        "multi3drefer": "scene_id object_ids ann_id description eval_type task",
        "ScanQA_v1.0": "scene_id question_id question answers object_ids object_names task",
    }
    splits = json.loads((small_world / "splits.json").read_text())
    for name, expected in keys.items():
        for split, annotated in (("train", "text"), ("val", "val")):
            path = small_world / "annotations" / f"{name}_{split}.json"
            records = json.loads(path.read_text())
            assert all(sorted(record) == sorted(expected.split()) for record in records)
            assert {record["scene_id"] for record in records} == set(splits[annotated])


def test_annotation_ids_are_unique(small_world: Path) -> None:
    folder = small_world / "annotations"
    for name in ("ScanRefer_filtered", "Scan2Cap"):
        records = json.loads((folder / f"{name}_val.json").read_text())
        ids = {(r["scene_id"], r["object_id"], r["ann_id"]) for r in records}
        assert len(ids) == len(records)
        assert all(
            isinstance(r["object_id"], str) and isinstance(r["ann_id"], str) for r in records
        )
    questions = json.loads((folder / "ScanQA_v1.0_val.json").read_text())
    assert len({question["question_id"] for question in questions}) == len(questions)


def test_annotated_names_match_the_boxes(small_world: Path) -> None:
    source = RGBDFolder(small_world)
    path = small_world / "annotations" / "ScanRefer_filtered_val.json"
    for record in json.loads(path.read_text()):
        objects = source.load(record["scene_id"]).objects
        assert objects is not None
        assert objects.labels[int(record["object_id"])] == record["object_name"]


def test_training_proposals_are_the_boxes_and_validation_proposals_are_not(
    small_world: Path,
) -> None:
    source = RGBDFolder(small_world)
    for split, exact in (("train", True), ("val", False)):
        proposals = read_candidates(small_world / "proposals" / f"{split}.json")
        assert sorted(proposals) == list(source.scenes(split))
        for scene_id, boxes in proposals.items():
            objects = source.load(scene_id).objects
            assert objects is not None
            assert np.array_equal(boxes, objects.boxes) == exact
            assert (boxes[:, 3:] > 0).all()


def test_validation_proposals_hold_no_true_box(small_world: Path) -> None:
    source = RGBDFolder(small_world)
    for scene_id, boxes in read_candidates(small_world / "proposals/val.json").items():
        objects = source.load(scene_id).objects
        assert objects is not None
        assert not (boxes[:, None] == objects.boxes).all(-1).any()


def test_the_place_of_a_proposal_tells_nothing_about_its_object() -> None:
    agreeing, objects = 0, 0
    for index in range(150):
        layout = random_layout(scene_generator(0, "val", index), 6, 6)
        boxes = layout.objects().boxes
        proposals = propose(boxes, layout.room, scene_generator(0, "val", index, 2))
        distance = np.abs(proposals[: len(boxes), None, :3] - boxes[None, :, :3]).sum(-1)
        agreeing += int((distance.argmin(1) == np.arange(len(boxes))).sum())
        objects += len(boxes)
    assert agreeing / objects == pytest.approx(1 / 6, abs=0.06)


def test_instances_are_written_for_training_scenes_only(small_world: Path) -> None:
    micro = make_scene(SMALL, "train", 0)
    instances = read_instances(small_world / "scenes" / "train00000")
    np.testing.assert_array_equal(instances.maps, micro.rendering.instances)
    assert instances.categories == tuple(piece.category for piece in micro.layout.pieces)
    assert instances.colors == tuple(piece.color for piece in micro.layout.pieces)
    with pytest.raises(SceneError, match="only training scenes do"):
        read_instances(small_world / "scenes" / "val00000")


def test_the_world_file_reports_the_control_and_the_tasks(small_world: Path) -> None:
    world = json.loads((small_world / "world.json").read_text())
    assert world["config"] == SMALL.canonical()
    assert set(world["content_free_control"]) == {
        "r2_east",
        "r2_north",
        "fit_objects",
        "test_objects",
    }
    tasks = world["tasks"]["val"]
    assert tasks.get("qa_exist", 0) + tasks.get("qa_count", 0) == 4


def _traces(split: str, count: int) -> ObjectTraces:
    config = MicroWorldConfig(image_size=16)
    scenes = [make_scene(config, split, index) for index in range(count)]
    return join_traces(
        [object_traces(s.rendering.instances, s.layout.objects().boxes) for s in scenes]
    )


def test_frame_and_patch_alone_do_not_tell_where_an_object_is() -> None:
    east, north = content_free_r2(_traces("train", 100), _traces("val", 40))
    assert east < 0.05 and north < 0.05


def test_the_control_finds_a_leak_when_there_is_one() -> None:
    """Cameras on a fixed path: the frame number then tells what part of the room is seen."""
    rng = np.random.default_rng(0)
    positions = rng.uniform(-2, 2, (400, 2)).astype(np.float32)
    frame = (positions[:, 0] > 0).astype(int)
    weights = np.zeros((400, 2 * 16), dtype=np.float32)
    weights[np.arange(400), frame * 16 + rng.integers(0, 16, 400)] = 1
    fit = ObjectTraces(weights[:300], positions[:300])
    east, north = content_free_r2(fit, ObjectTraces(weights[300:], positions[300:]))
    assert east > 0.6 and north < 0.1


def test_object_traces_agree_with_a_loop() -> None:
    scene = make_scene(MicroWorldConfig(num_frames=2), "train", 3)
    boxes = scene.layout.objects().boxes
    traces = object_traces(scene.rendering.instances, boxes)
    for index in range(len(boxes)):
        counts = np.zeros((2, 4, 4))
        for frame, row, column in zip(
            *np.nonzero(scene.rendering.instances == index + 1), strict=True
        ):
            counts[frame, row // 16, column // 16] += 1
        np.testing.assert_allclose(traces.weights[index], counts.ravel() / counts.sum(), rtol=1e-6)


def test_camera_positions_have_no_preferred_place() -> None:
    eyes = []
    for index in range(40):
        rng = scene_generator(0, "train", index)
        layout = random_layout(rng, 5, 7)
        eyes.append(random_cameras(rng, layout, 8)[:, :2, 3])
    mean = np.stack(eyes).mean(0)
    assert np.abs(mean).max() < 0.9 and np.abs(mean.mean(0)).max() < 0.25


def test_more_text_than_scenes_is_refused() -> None:
    with pytest.raises(ValidationError, match="must not exceed train"):
        MicroWorldConfig(train=10, text=11)
