"""The feature store: what is written is read back as a view of the file, or refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from threedrs_platform.errors import ArtifactCorrupt, ArtifactMissing, DataError
from threedrs_platform.records import FeatureMap
from threedrs_platform.store.features import (
    FeatureFolder,
    FeatureHeader,
    check_frames,
    feature_path,
    open_features,
    read_features,
    write_features,
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
    values = open_features(tmp_path / "big.arrow").features
    assert pa.total_allocated_bytes() - before < values.nbytes / 100
    assert not values.flags.owndata
    assert not values.flags.writeable


def test_values_outlive_the_file_handle(stored: Path) -> None:
    values = open_features(stored).features
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
    assert folder.num_open == 2


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
        open_features(tmp_path / "nowhere.arrow")


@pytest.mark.parametrize("kept", [0, 7, 200, -1])
def test_a_truncated_file_is_corrupt(stored: Path, kept: int) -> None:
    stored.write_bytes(stored.read_bytes()[:kept])
    with pytest.raises(ArtifactCorrupt, match=r"scene0000_00\.arrow: truncated"):
        open_features(stored)


def test_a_foreign_arrow_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.arrow"
    batch = pa.RecordBatch.from_pydict({"x": [1, 2]})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    with pytest.raises(DataError, match=r"table\.arrow: an Arrow file, but not one of teacher"):
        open_features(path)


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
