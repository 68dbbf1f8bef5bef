"""The feature store: what is written is read back as a view of the file, or refused by name;
statistics equal those of all tokens at once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from threedrs_platform.errors import ArtifactCorrupt, ArtifactMissing, DataError
from threedrs_platform.records import FeatureMap
from threedrs_platform.store.features import (
    STATISTICS,
    FeatureFolder,
    FeatureHeader,
    check_frames,
    check_one_extraction,
    feature_path,
    feature_statistics,
    read_features,
    read_statistics,
    statistics_of,
    write_features,
    write_statistics,
)

HEADER = FeatureHeader("vggt", "ab" * 32, "CC BY-NC 4.0", "width 518, bicubic", 23)


def features(scene_id: str = "scene0000_00", frames: int = 3) -> FeatureMap:
    values = np.random.default_rng(0).normal(size=(frames, 2, 2, 5)).astype(np.float16)
    return FeatureMap(scene_id, tuple(f"frame-{index:06d}" for index in range(frames)), values)


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = feature_path(tmp_path, "scene0000_00")
    write_features(path, features(), HEADER)
    return path


def test_a_file_gives_back_values_names_and_header(stored: Path) -> None:
    found = read_features(stored)
    assert found.header == HEADER
    assert found.features.frame_names == features().frame_names
    assert found.features.scene_id == "scene0000_00"
    np.testing.assert_array_equal(found.features.features, features().features)
    assert found.features.features.dtype == np.float16


def test_one_record_batch_holds_one_row_per_frame(stored: Path) -> None:
    with pa.memory_map(str(stored)) as source:
        reader = pa.ipc.open_file(source)
        assert reader.num_record_batches == 1
        assert reader.get_batch(0).num_rows == 3


def test_reading_copies_nothing(tmp_path: Path) -> None:
    big = FeatureMap("big", ("a", "b"), np.zeros((2, 64, 64, 512), np.float16))
    write_features(tmp_path / "big.arrow", big, HEADER)
    before = pa.total_allocated_bytes()
    values = read_features(tmp_path / "big.arrow").features.features
    assert pa.total_allocated_bytes() - before < values.nbytes / 100
    assert not values.flags.owndata
    assert not values.flags.writeable


def test_values_outlive_the_file_handle(stored: Path) -> None:
    values = read_features(stored).features.features
    stored.unlink()
    np.testing.assert_array_equal(values, features().features)


def test_the_number_of_open_files_is_bounded(tmp_path: Path) -> None:
    for number in range(5):
        name = f"scene{number}"
        write_features(feature_path(tmp_path, name), features(name), HEADER)
    folder = FeatureFolder(tmp_path, max_open=2)
    assert folder.scenes() == [f"scene{number}" for number in range(5)]
    for scene_id in [*folder.scenes(), "scene0"]:
        assert folder[scene_id].scene_id == scene_id
    assert len(folder._open) == 2


def test_an_open_file_is_used_again(stored: Path) -> None:
    folder = FeatureFolder(stored.parent)
    assert folder["scene0000_00"] is folder["scene0000_00"]


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (("frame-000000", "frame-000007", "frame-000002"), "frame 1 is 'frame-000007'"),
        (("frame-000000", "frame-000001"), "2 frames, the features have 3"),
    ],
)
def test_other_frames_are_refused_with_scene_and_place(
    names: tuple[str, ...], complaint: str
) -> None:
    with pytest.raises(DataError, match=complaint) as caught:
        check_frames(features(), names)
    assert "scene0000_00" in str(caught.value)


def test_the_same_frames_pass() -> None:
    check_frames(features(), list(features().frame_names))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissing, match=r"nowhere\.arrow"):
        read_features(tmp_path / "nowhere.arrow")


@pytest.mark.parametrize("kept", [0, 7, 200, -1])
def test_a_truncated_file_is_corrupt(stored: Path, kept: int) -> None:
    stored.write_bytes(stored.read_bytes()[:kept])
    with pytest.raises(ArtifactCorrupt, match=r"scene0000_00\.arrow: truncated"):
        read_features(stored)


def test_a_foreign_arrow_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.arrow"
    batch = pa.RecordBatch.from_pydict({"x": [1, 2]})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    with pytest.raises(DataError, match=r"table\.arrow: an Arrow file, but not one of teacher"):
        read_features(path)


@pytest.mark.parametrize(
    ("values", "frames"),
    [
        (np.zeros((3, 2, 2, 5), np.float32), 3),
        (np.zeros((3, 4, 5), np.float16), 3),
        (np.zeros((3, 2, 2, 5), np.float16), 2),
    ],
)
def test_only_float16_maps_with_their_names_are_written(
    tmp_path: Path, values: np.ndarray, frames: int
) -> None:
    names = tuple(str(index) for index in range(frames))
    with pytest.raises(DataError, match="scene s"):
        write_features(tmp_path / "s.arrow", FeatureMap("s", names, values), HEADER)
    assert list(tmp_path.iterdir()) == []


SCENES = ("attic", "hall", "kitchen")


def folder(root: Path, headers: tuple[FeatureHeader, ...] = (HEADER,) * 3) -> FeatureFolder:
    random = np.random.default_rng(0)
    for scene_id, header in zip(SCENES, headers, strict=True):
        values = (5 + 3 * random.normal(size=(1, 2, 2, 6))).astype(np.float16)
        write_features(feature_path(root, scene_id), FeatureMap(scene_id, ("a",), values), header)
    return FeatureFolder(root)


def test_statistics_equal_those_of_all_tokens_at_once(tmp_path: Path) -> None:
    stored = folder(tmp_path)
    found = feature_statistics(stored, SCENES)
    tokens = np.concatenate([stored[each].features.reshape(-1, 6) for each in SCENES])
    np.testing.assert_allclose(found.mean, tokens.astype(np.float64).mean(0))
    np.testing.assert_allclose(found.std, tokens.astype(np.float64).std(0))
    assert found.tokens == 12


def test_statistics_of_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least one scene"):
        feature_statistics(FeatureFolder(tmp_path), [])


def test_statistics_are_read_back_exactly(tmp_path: Path) -> None:
    folder(tmp_path)
    written, read = write_statistics(tmp_path, ["kitchen", "hall"]), read_statistics(tmp_path)
    np.testing.assert_array_equal(read.mean, written.mean)
    np.testing.assert_array_equal(read.std, written.std)
    assert (read.tokens, read.scene_ids) == (8, ("hall", "kitchen"))


def test_missing_statistics_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"statistics\.json: no statistics"):
        read_statistics(tmp_path)


def test_stored_statistics_are_taken_for_the_scenes_they_are_of_and_no_others(
    tmp_path: Path,
) -> None:
    stored = folder(tmp_path)
    write_statistics(tmp_path, ["hall", "kitchen"])
    content = json.loads((tmp_path / STATISTICS).read_text())
    (tmp_path / STATISTICS).write_text(json.dumps({**content, "mean": [7.0] * 6}))
    assert statistics_of(stored, ["kitchen", "hall"]).mean.tolist() == [7.0] * 6
    others = statistics_of(stored, ["attic", "hall"])
    np.testing.assert_array_equal(others.mean, feature_statistics(stored, ["attic", "hall"]).mean)


def test_one_extraction_has_one_header(tmp_path: Path) -> None:
    assert check_one_extraction(folder(tmp_path), SCENES) == HEADER


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"teacher": "flare"}, "teacher is 'vggt'"),
        ({"source_digest": "cd" * 32}, "source_digest is"),
        ({"preprocessing": "squashed"}, "preprocessing is"),
        ({"layer": 11}, "layer is 23 for"),
    ],
)
def test_scenes_of_several_extractions_are_refused(
    change: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    stored = folder(tmp_path, (HEADER, HEADER, replace(HEADER, **change)))
    with pytest.raises(DataError, match=complaint) as caught:
        check_one_extraction(stored, SCENES)
    assert "for scene kitchen" in str(caught.value)


def test_another_grid_is_another_extraction(tmp_path: Path) -> None:
    stored = folder(tmp_path)
    values = np.zeros((1, 4, 4, 6), np.float16)
    write_features(feature_path(tmp_path, "hall"), FeatureMap("hall", ("a",), values), HEADER)
    with pytest.raises(DataError, match="grid is '2x2' for scene attic, '4x4' for scene hall"):
        check_one_extraction(stored, SCENES)
