"""Extraction: pooled in float32, kept scene by scene, refused where it would mix."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from threedrs_components.scenes.geometry import overlaps
from threedrs_components.scenes.prepared import choose_frames
from threedrs_components.teachers.extraction import (
    extract_scene,
    extract_scenes,
    pooled,
)
from threedrs_components.teachers.teacher import TeacherCard
from threedrs_platform.errors import ConfigError, DataError, SceneError
from threedrs_platform.records import Scene
from threedrs_platform.store.features import FeatureFolder, feature_path


class Rows:
    """A teacher whose features are the frame's mean and the row's number, on a 4x4 grid."""

    grid = 4

    def __init__(self, digest: str = "d" * 64, gain: float = 1.0) -> None:
        self.card = TeacherCard("rows", digest, "CC0", "none", 7)
        self.gain, self.calls = gain, 0

    def seen(self, height: int, width: int) -> tuple[float, float]:
        """The middle square of wide frames, all of others."""
        return 1.0, min(1.0, height / width)

    def scene_features(self, scene: Scene) -> Tensor:
        self.calls += 1
        number = len(scene.images)
        means = torch.from_numpy(scene.images / 255).float().mean((1, 2, 3))
        means = means.view(-1, 1, 1, 1).expand(-1, 4, 4, 1)
        rows = torch.arange(4.0).view(1, 4, 1, 1).expand(number, 4, 4, 1)
        return self.gain * torch.cat([means, rows], -1)


class Rooms:
    """Three scenes; one of them is bad if asked for."""

    def __init__(
        self, bad: str = "", frames: tuple[str, ...] = ("a", "b"), wide: int = 4, shade: int = 10
    ) -> None:
        self.bad, self.frames, self.wide, self.shade = bad, frames, wide, shade

    def splits(self) -> list[str]:
        return ["all"]

    def scenes(self, split: str = "all") -> list[str]:
        return ["attic", "hall", "kitchen"]

    def load(self, scene_id: str) -> Scene:
        if scene_id == self.bad:
            raise SceneError(scene_id, "depth is truncated")
        number = len(self.frames)
        shade = self.shade * self.scenes().index(scene_id)
        return Scene(
            scene_id, self.frames, np.full((number, 4, self.wide, 3), shade, np.uint8),
            np.ones((number, 4, 4), np.float32), np.eye(3, dtype=np.float32),
            np.eye(3, dtype=np.float32), np.tile(np.eye(4, dtype=np.float32), (number, 1, 1)),
            np.eye(4, dtype=np.float32),
        )  # fmt: skip


def test_features_are_averaged_to_the_grid() -> None:
    features = extract_scene(Rows(), Rooms().load("hall"), 2)
    assert features.features.shape == (2, 2, 2, 2)
    assert features.features.dtype == np.float16
    np.testing.assert_array_equal(features.features[0, :, 0, 1], [0.5, 2.5])
    assert features.frame_names == ("a", "b")


def test_a_grid_that_does_not_divide_is_pooled_with_overlap() -> None:
    values = torch.arange(28.0).view(1, 28, 1, 1).expand(1, 28, 37, 1)
    small = pooled(values, 14)
    assert small.shape == (1, 14, 14, 1)
    np.testing.assert_allclose(small[0, :, 0, 0], np.arange(28).reshape(14, 2).mean(1))


def test_pooling_happens_before_rounding_to_half_precision() -> None:
    class Fine(Rows):
        def scene_features(self, scene: Scene) -> Tensor:
            cells = torch.tensor([2048.0, 2051.0]).repeat(8).view(1, 4, 4, 1)
            return cells.expand(len(scene.images), 4, 4, 1)

    features = extract_scene(Fine(), Rooms().load("hall"), 1).features
    assert float(features[0, 0, 0, 0]) == np.float16(2049.5)


@pytest.mark.parametrize("gain", [float("nan"), 1e6])
def test_values_that_half_precision_cannot_hold_are_refused(gain: float) -> None:
    with pytest.raises(DataError, match="scene hall: teacher rows gave values"):
        extract_scene(Rows(gain=gain), Rooms().load("hall"), 2)


def test_scenes_that_are_there_are_kept(tmp_path: Path) -> None:
    first, second = Rows(), Rows()
    one = extract_scenes(first, Rooms(), ["attic"], tmp_path, 2)
    both = extract_scenes(second, Rooms(), ["attic", "hall"], tmp_path, 2)
    assert (one.written, one.kept) == (("attic",), ())
    assert (both.written, both.kept) == (("hall",), ("attic",))
    assert second.calls == 1
    assert FeatureFolder(tmp_path).scenes() == ["attic", "hall"]


def test_the_teacher_sees_the_frames_that_scenes_are_prepared_with(tmp_path: Path) -> None:
    rooms = Rooms(frames=("a", "b", "c", "d", "e"))
    extract_scenes(Rows(), rooms, ["hall"], tmp_path, 2, num_frames=3)
    stored = FeatureFolder(tmp_path)["hall"]
    assert tuple(stored.frame_names) == choose_frames(rooms.load("hall"), 3).frame_names
    assert tuple(stored.frame_names) == ("a", "c", "e")


def test_scenes_before_a_failure_are_committed(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="scene hall: depth is truncated"):
        extract_scenes(Rows(), Rooms(bad="hall"), Rooms().scenes(), tmp_path, 2)
    assert FeatureFolder(tmp_path).scenes() == ["attic"]


def test_a_bad_scene_is_skipped_and_told_where_that_was_asked_for(tmp_path: Path) -> None:
    notes: list[str] = []
    done = extract_scenes(
        Rows(), Rooms(bad="hall"), Rooms().scenes(), tmp_path, 2, skip_bad_scenes=True,
        progress=lambda done, total, note: notes.append(f"{done}/{total} {note}"),
    )  # fmt: skip
    assert done.skipped == {"hall": "depth is truncated"}
    assert done.written == ("attic", "kitchen")
    assert notes == ["1/3 attic", "2/3 hall skipped: depth is truncated", "3/3 kitchen"]


@pytest.mark.parametrize(
    ("teacher", "frames", "grid", "complaint"),
    [
        (Rows("e" * 64), ("a", "b"), 2, r"attic\.arrow: .*source_digest: 'd{12}', now 'e{12}'$"),
        (Rows(), ("a", "b"), 1, "grid: 2, now 1$"),
        (Rows(), ("a", "c"), 2, "scene attic: frame 1 is 'c'"),
    ],
)
def test_a_folder_of_another_extraction_is_refused(
    tmp_path: Path, teacher: Rows, frames: tuple[str, ...], grid: int, complaint: str
) -> None:
    extract_scenes(Rows(), Rooms(), ["attic"], tmp_path, 2)
    with pytest.raises(DataError, match=complaint):
        extract_scenes(teacher, Rooms(frames=frames), ["attic"], tmp_path, grid)


def test_a_grid_finer_than_the_teachers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="14 is finer than the teacher's 4"):
        extract_scenes(Rows(), Rooms(), ["attic"], tmp_path, 14)


def test_the_header_says_where_features_come_from(tmp_path: Path) -> None:
    extract_scenes(Rows(), Rooms(), ["attic"], tmp_path, 2)
    header = FeatureFolder(tmp_path).stored("attic").header
    assert (header.teacher, header.layer, header.licence) == ("rows", 7, "CC0")


def test_an_interrupted_write_leaves_no_scene(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(partial: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(Exception, match="the disk is full"):
        extract_scenes(Rows(), Rooms(), ["attic"], tmp_path, 2)
    assert not feature_path(tmp_path, "attic").exists()
    assert list(tmp_path.iterdir()) == []


def test_only_what_the_grid_covers_is_pooled() -> None:
    """Of a ramp every cell has the value at its middle: cells end where the covered part does."""
    area = 378 / 384
    ramp = torch.arange(0.5, 28).view(1, 28, 1, 1).expand(1, 28, 37, 1)
    # Linear inside every part, so that the mean over a cell is that of the exact ramp.
    parts = overlaps(28, 14, area)
    edges = torch.linspace(0, 28 * area, 15)
    assert torch.allclose(parts.sum(1), torch.ones(14))
    assert torch.equal(parts[:, 27] > 0, torch.arange(14) == 13)
    found = pooled(ramp, 14, area)[0, :, 0, 0]
    assert (found - (edges[:-1] + edges[1:]) / 2).abs().max() < 0.13
    assert float(found[-1]) < float(pooled(ramp, 14)[0, -1, 0, 0])


def test_a_part_is_pooled_by_the_share_of_every_value_in_each_cell() -> None:
    """Six values of which five are covered, in two cells: 1 2 3/2 and 3/2 4 5."""
    values = torch.tensor([1.0, 2, 3, 4, 5, 6]).view(1, 6, 1, 1).expand(1, 6, 6, 1)
    found = pooled(values, 2, 5 / 6)[0, :, 0, 0]
    assert torch.allclose(found, torch.tensor([(1 + 2 + 1.5) / 2.5, (1.5 + 4 + 5) / 2.5]))


def test_what_framing_cuts_is_told_and_refused(tmp_path: Path) -> None:
    wide = Rooms(wide=5)
    done = extract_scenes(Rows(), wide, ["hall"], tmp_path / "told", 2, max_cut=0.25)
    assert done.cut == {"hall": pytest.approx(0.2)}
    with pytest.raises(SceneError, match=r"cuts 20% of its frames.*framing: squash"):
        extract_scenes(Rows(), wide, ["hall"], tmp_path / "refused", 2, max_cut=0.1)
    left = extract_scenes(
        Rows(), wide, ["hall"], tmp_path / "left", 2, max_cut=0.1, skip_bad_scenes=True
    )
    assert [*left.skipped] == ["hall"] and not left.written


def test_features_of_another_scene_of_the_same_name_are_not_kept(tmp_path: Path) -> None:
    extract_scenes(Rows(), Rooms(), ["hall"], tmp_path, 2)
    assert extract_scenes(Rows(), Rooms(), ["hall"], tmp_path, 2).kept == ("hall",)
    with pytest.raises(DataError, match=r"looks otherwise.*choose another output folder"):
        extract_scenes(Rows(), Rooms(shade=60), ["hall"], tmp_path, 2)
