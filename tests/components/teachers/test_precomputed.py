"""Features made elsewhere: every known layout is read, everything doubtful is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from threedrs_components.teachers.extraction import extract_scenes
from threedrs_components.teachers.fingerprints import fingerprints
from threedrs_components.teachers.precomputed.teacher import FeatureFile, on_grid
from threedrs_components.teachers.registry import load_teacher
from threedrs_platform.errors import CheckpointError, DataError
from threedrs_platform.records import FeatureMap, Scene
from threedrs_platform.store.features import (
    FeatureFolder,
    FeatureHeader,
    feature_path,
    write_features,
)

NAMES = ("a", "b")


def room(names: tuple[str, ...] = NAMES) -> Scene:
    number = len(names)
    eye = np.eye(3, dtype=np.float32)
    return Scene(
        "hall", names, np.zeros((number, 4, 4, 3), np.uint8),
        np.ones((number, 4, 4), np.float32), eye, eye,
        np.tile(np.eye(4, dtype=np.float32), (number, 1, 1)), np.eye(4, dtype=np.float32),
    )  # fmt: skip


class Rooms:
    def splits(self) -> list[str]:
        return ["all"]

    def scenes(self, split: str) -> list[str]:
        return ["hall"]

    def load(self, scene_id: str) -> Scene:
        return room()


def values(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "specials", "grid"),
    [
        ((2, 768, 5), 0, (24, 32)),
        ((1, 2, 1041, 5), 5, (28, 37)),
        ((2, 256, 5), 0, (16, 16)),
        ((2, 196, 5), 0, (14, 14)),
        ((2, 729, 5), 0, (27, 27)),
        ((2, 3, 7, 5), 0, (3, 7)),
        ((1, 2, 3, 7, 5), 0, (3, 7)),
    ],
)
def test_the_grid_is_found_from_the_number_of_tokens(
    shape: tuple[int, ...], specials: int, grid: tuple[int, int]
) -> None:
    stored = values(*shape)
    found = on_grid(FeatureFile(stored, None, specials), None)
    assert found.shape == (2, *grid, 5)
    tokens = stored.reshape(2, -1, 5)[:, specials:]
    np.testing.assert_array_equal(found.reshape(2, -1, 5), tokens)


def test_rows_settle_a_grid_that_is_no_square() -> None:
    assert on_grid(FeatureFile(values(2, 12, 5), None), rows=3).shape == (2, 3, 4, 5)


@pytest.mark.parametrize(("tokens", "rows"), [(12, None), (12, 5), (0, None)])
def test_a_grid_that_cannot_be_told_is_refused(tokens: int, rows: int | None) -> None:
    with pytest.raises(ValueError, match=r"teachers\.\*\.rows"):
        on_grid(FeatureFile(values(2, tokens, 5), None), rows)


def test_the_layout_of_3drs_is_read(tmp_path: Path) -> None:
    stored = values(1, 2, 5 + 16, 6)
    (tmp_path / "hall").mkdir()
    np.savez_compressed(tmp_path / "hall" / "vggt.npz", feature=stored, ps_idx=5)
    settings = {"teacher": "vggt", "licence": "CC BY-NC 4.0", "frames": "assumed"}
    teacher = load_teacher("precomputed", str(tmp_path), **settings)
    features = teacher.scene_features(room())
    np.testing.assert_array_equal(features.flatten(1, 2), stored[0, :, 5:])
    assert (teacher.grid, teacher.card.kind) == (4, "vggt")


def test_safetensors_with_frame_names_are_read(tmp_path: Path) -> None:
    stored = torch.from_numpy(values(2, 16, 6))
    names = {"frame_names": json.dumps(NAMES)}
    save_file({"patches": stored.half()}, tmp_path / "hall.safetensors", metadata=names)
    teacher = load_teacher("precomputed", str(tmp_path))
    assert teacher.scene_features(room()).shape == (2, 4, 4, 6)
    with pytest.raises(DataError, match="frame 1 is 'z'"):
        teacher.scene_features(room(("a", "z")))


def test_features_of_an_earlier_extraction_are_read(tmp_path: Path) -> None:
    header = FeatureHeader("vggt", "ab" * 32, "CC0", "width 518", 23)
    stored = FeatureMap("hall", NAMES, values(2, 4, 4, 6).astype(np.float16))
    write_features(feature_path(tmp_path, "hall"), stored, header)
    teacher = load_teacher("precomputed", str(tmp_path), teacher="vggt", layer=23)
    np.testing.assert_array_equal(teacher.scene_features(room()), stored.features)
    for maker, layer in (("vggt", 11), ("dinov2", 23)):
        with pytest.raises(DataError, match="features of teacher 'vggt', layer 23; asked for"):
            load_teacher("precomputed", str(tmp_path), teacher=maker, layer=layer)


def npz(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "hall.npz", **arrays)
    return folder


def test_an_equal_number_of_frames_is_no_proof(tmp_path: Path) -> None:
    folder = npz(tmp_path, feature=values(2, 16, 6))
    with pytest.raises(
        DataError, match=r"hall\.npz: does not say .* teachers\.\*\.frames: assumed"
    ):
        load_teacher("precomputed", str(folder)).scene_features(room())
    teacher = load_teacher("precomputed", str(folder), frames="assumed")
    assert teacher.scene_features(room()).shape == (2, 4, 4, 6)
    assert "assumed" in teacher.card.preprocessing


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_fingerprints_of_images_say_which_frames_they_are(tmp_path: Path, suffix: str) -> None:
    images = np.random.default_rng(1).integers(0, 255, (2, 2, 2, 3), dtype=np.uint8)
    scene = dataclasses.replace(room(), images=images.repeat(32, 1).repeat(48, 2))
    arrays = {"feature": values(2, 16, 6), "fingerprints": fingerprints(scene.images)}
    if suffix == ".npz":
        npz(tmp_path, **arrays)
    else:
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        save_file(tensors, tmp_path / "hall.safetensors")
    teacher = load_teacher("precomputed", str(tmp_path))
    smaller = dataclasses.replace(scene, images=scene.images[:, ::2, ::2] // 2 * 2)
    assert teacher.scene_features(smaller).shape == (2, 4, 4, 6)
    swapped = dataclasses.replace(scene, images=scene.images[::-1])
    with pytest.raises(DataError, match="frame 0 looks otherwise"):
        teacher.scene_features(swapped)


def test_another_number_of_frames_is_refused(tmp_path: Path) -> None:
    folder = npz(tmp_path, feature=values(3, 16, 6))
    teacher = load_teacher("precomputed", str(folder), frames="assumed")
    with pytest.raises(DataError, match=r"scene hall: .*extract the features again"):
        teacher.scene_features(room())


def test_named_frames_must_be_those_of_the_scene(tmp_path: Path) -> None:
    folder = npz(tmp_path, feature=values(2, 16, 6), frame_names=np.array(["b", "a"]))
    with pytest.raises(DataError, match="frame 0 is 'a', the features were made from 'b'"):
        load_teacher("precomputed", str(folder)).scene_features(room())


def test_a_scene_without_features_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "attic.npz", feature=values(2, 16, 6))
    with pytest.raises(DataError, match="no features of scene hall"):
        load_teacher("precomputed", str(tmp_path)).scene_features(room())


def test_one_array_of_several_must_be_named(tmp_path: Path) -> None:
    folder = npz(tmp_path, first=values(2, 16, 6), second=values(2, 16, 3))
    with pytest.raises(DataError, match=r"teachers\.\*\.key: first, second"):
        load_teacher("precomputed", str(folder))
    with pytest.raises(DataError, match="no array 'third'; there are first, second"):
        load_teacher("precomputed", str(folder), key="third")
    second = load_teacher("precomputed", str(folder), key="second", frames="assumed")
    assert second.scene_features(room()).shape[-1] == 3


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_broken_file_is_named(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"hall{suffix}").write_bytes(b"half a file")
    with pytest.raises(DataError, match=rf"hall\{suffix}: not a readable"):
        load_teacher("precomputed", str(tmp_path))


def test_arrays_of_python_objects_are_not_unpickled(tmp_path: Path) -> None:
    folder = npz(tmp_path, feature=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match=r"hall\.npz: not a readable"):
        load_teacher("precomputed", str(folder))


def test_an_empty_or_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no features here; expected \.arrow, \.npz"):
        load_teacher("precomputed", str(tmp_path))
    with pytest.raises(CheckpointError, match="no such folder of precomputed features"):
        load_teacher("precomputed", str(tmp_path / "nowhere"))


def test_two_files_for_one_scene_are_refused(tmp_path: Path) -> None:
    npz(tmp_path, feature=values(2, 16, 6))
    (tmp_path / "hall").mkdir()
    np.savez(tmp_path / "hall" / "vggt.npz", feature=values(2, 16, 6))
    with pytest.raises(CheckpointError, match="more than one file of features for a scene"):
        load_teacher("precomputed", str(tmp_path))


def test_hidden_files_are_no_features(tmp_path: Path) -> None:
    npz(tmp_path, feature=values(2, 16, 6))
    before = load_teacher("precomputed", str(tmp_path)).card
    for name in ("._hall.npz", ".old/hall.npz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"left by a system")
    assert load_teacher("precomputed", str(tmp_path)).card == before


def test_the_files_it_hands_out_are_pooled_like_any_teachers(tmp_path: Path) -> None:
    stored = values(2, 768, 6)
    folder = tmp_path / "flare"
    folder.mkdir()
    npz(folder, arr_0=stored)
    teacher = load_teacher("precomputed", str(folder), teacher="flare", layer=11, frames="assumed")
    extract_scenes(teacher, Rooms(), ["hall"], tmp_path / "out", 8)
    found = FeatureFolder(tmp_path / "out").stored("hall")
    assert (found.header.teacher, found.header.layer) == ("flare", 11)
    expected = stored.reshape(2, 8, 3, 8, 4, 6).mean((2, 4))
    np.testing.assert_allclose(found.features.features, expected, atol=2e-3)
