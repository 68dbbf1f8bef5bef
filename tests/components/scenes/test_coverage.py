"""Frames chosen by what they see: against a slow greedy choice, a missed corner, shares by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from threedrs_components.scenes.coverage import (
    Coverage,
    coverage_of,
    covering_choice,
    greedy_cover,
    seen_voxels,
)
from threedrs_components.scenes.frames import kept_frames, uniform_choice
from threedrs_components.scenes.geometry import world_coordinates
from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.scene import make_scene
from threedrs_components.scenes.preparation_report import preparation_report
from threedrs_components.scenes.prepare_config import ChecksConfig, PrepareConfig
from threedrs_components.scenes.prepared import choose_frames, prepare_scene, write_prepared
from threedrs_components.scenes.registry import SCENES
from threedrs_components.scenes.voxels import voxel_indices, voxel_keys
from threedrs_components.testing.scene_sources import tiny_scenes
from threedrs_platform.records import Scene

UNCHECKED = ChecksConfig(mode="skip")


def strip(places: list[int], side: int = 2) -> Scene:
    """Cameras over a floor 1 m below, each at x = place: 2 x 2 pixels, 1 m apart, see 4 voxels of
    1 m, those of x = place and place + 1."""
    poses = np.tile(np.eye(4, dtype=np.float32), (len(places), 1, 1))
    poses[:, 0, 3] = places
    images = np.zeros((len(places), side, side, 3), np.uint8)
    images += np.arange(len(places), dtype=np.uint8)[:, None, None, None]
    eye = np.eye(3, dtype=np.float32)
    names = tuple(f"frame-{at}" for at in range(len(places)))
    depth = np.ones((len(places), side, side), np.float32)
    return Scene("strip", names, images, depth, eye, eye, poses, np.eye(4, dtype=np.float32))


def slow_greedy(seen: list[set[int]], budget: int) -> list[int]:
    """Counts everything again for each choice."""
    order: list[int] = []
    covered: set[int] = set()
    while len(order) < min(budget, len(seen)):
        left = [row for row in range(len(seen)) if row not in order]
        best = max(left, key=lambda row: (len(seen[row] - covered), -row))
        if not seen[best] - covered and any(seen[row] for row in left):
            covered = set()
            continue
        order.append(best)
        covered |= seen[best]
    return order


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("budget", [1, 4, 12, 20])
def test_the_choice_is_that_of_a_slow_greedy_one(seed: int, budget: int) -> None:
    dense = np.random.default_rng(seed).random((12, 30)) < [0.02, 0.1, 0.3, 0.6][seed % 4]
    seen = sparse.csr_array(dense.astype(np.int32))
    assert greedy_cover(seen, budget) == slow_greedy(
        [{*np.nonzero(row)[0]} for row in dense], budget
    )


def test_of_frames_that_see_as_much_the_first_is_taken() -> None:
    rows = np.array([[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 0, 0], [0, 0, 1, 1]], np.int32)
    assert greedy_cover(sparse.csr_array(rows), 3) == [0, 1, 2]


def test_frames_that_see_nothing_come_last() -> None:
    rows = np.array([[0, 0], [1, 0], [0, 1]], np.int32)
    assert greedy_cover(sparse.csr_array(rows), 3) == [1, 2, 0]
    assert greedy_cover(sparse.csr_array((2, 0)), 2) == [0, 1]


def test_voxels_are_those_of_the_points() -> None:
    seen = seen_voxels(strip([0, 1, 5]), np.arange(3), 1.0)
    assert seen.toarray().tolist() == [
        [1, 1, 1, 1, 0, 0, 0, 0, 0, 0],
        [0, 0, 1, 1, 1, 1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 1, 1, 1, 1],
    ]


def test_of_a_large_frame_every_so_many_pixels_are_looked_at() -> None:
    """Each lies where it lies in the whole frame."""
    scene = strip([0], side=130)
    scene = dataclasses.replace(scene, depth_intrinsics=np.diag([100.0, 100.0, 1.0]).astype("f4"))
    points, _ = (each[0].numpy() for each in world_coordinates(*torches(scene)))
    expected = {tuple(v) for v in np.round(points[::3, ::3].reshape(-1, 3) / 0.1).astype(int)}
    assert seen_voxels(scene, np.arange(1), 0.1).nnz == len(expected)


def torches(scene: Scene) -> list[Tensor]:
    arrays = (scene.depth, scene.depth_intrinsics, scene.camera_to_world, scene.axis_alignment)
    return [torch.from_numpy(each) for each in arrays]


CORNER = [0, 9, 0, 1, 1, 1, 2, 2]
"""The camera looks into the corner, 9, in frame 1 of 8 only; places 0 to 3, 9 and 10 have two
voxels each: 12 in all."""


def test_a_corner_that_even_sampling_misses_is_seen() -> None:
    scene = strip(CORNER)
    assert choose_frames(scene, 3).frame_names == ("frame-0", "frame-3", "frame-7")
    assert choose_frames(scene, 3, 1.0).frame_names == ("frame-0", "frame-1", "frame-6")


@pytest.mark.parametrize(
    ("frames", "chosen", "uniform"),
    [((0, 1, 6), 12, 8), ((0, 3, 7), 8, 8), ((0, 2), 4, 8), ((1,), 4, 4), ((1, 6), 8, 8)],
)
def test_shares_are_those_counted_by_hand(
    frames: tuple[int, ...], chosen: int, uniform: int
) -> None:
    names = [f"frame-{at}" for at in frames]
    expected = Coverage(8, chosen / 12, uniform / 12)
    assert coverage_of(strip(CORNER), names, 1.0) == expected


def test_pixels_without_depth_and_points_out_of_reach_are_not_seen() -> None:
    scene = strip([0, 5])
    depth = scene.depth.copy()
    depth[0, 0, 0], depth[0, 1, 1] = 0, np.nan
    assert seen_voxels(dataclasses.replace(scene, depth=depth), np.arange(2), 1.0).nnz == 6
    poses = scene.camera_to_world.copy()
    poses[1, 0, 3] = 1e7
    far = dataclasses.replace(scene, camera_to_world=poses)
    assert seen_voxels(far, np.arange(2), 1.0).nnz == 4
    assert choose_frames(far, 1, 1.0).frame_names == ("frame-0",)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30, 1e18])
def test_what_is_nowhere_is_not_seen(value: float) -> None:
    """Rounded to integers it becomes the lowest of all, which is its own absolute."""
    scene = strip([0, 5])
    poses, depth = scene.camera_to_world.copy(), scene.depth.copy()
    poses[1, :3, 3], depth[1] = value, value
    assert (
        seen_voxels(dataclasses.replace(scene, camera_to_world=poses), np.arange(2), 1.0).nnz == 4
    )
    assert seen_voxels(dataclasses.replace(scene, depth=depth), np.arange(2), 1.0).nnz == 4
    with pytest.raises(ValueError, match="does not fit 21 bits"):
        voxel_keys(voxel_indices(torch.tensor([[0.0, 0.0, 1e30]])))


def test_without_depth_frames_are_spread_and_their_coverage_is_unknown() -> None:
    scene = strip(list(range(9)))
    blind = dataclasses.replace(scene, depth=np.zeros_like(scene.depth))
    chosen = choose_frames(blind, 3, 1.0).frame_names
    assert chosen == choose_frames(blind, 3).frame_names
    assert coverage_of(blind, chosen, 1.0) is None


def test_repeated_frames_are_one_candidate() -> None:
    scene = kept_frames(strip([0, 5, 9]), [0, 0, 1, 1, 2, 2])
    assert covering_choice(scene, 2, 1.0).tolist() == [0, 2]
    assert covering_choice(scene, 4, 1.0).tolist() == uniform_choice(6, 4).tolist()
    assert coverage_of(scene, ("frame-0", "frame-1"), 1.0) == Coverage(3, 8 / 12, 8 / 12)


@pytest.fixture(scope="module")
def room() -> Scene:
    return make_scene(MicroWorldConfig(num_frames=24, image_size=32), "train", 0).record()


def test_a_prepared_scene_has_the_frames_that_see_most(room: Scene, tmp_path: Path) -> None:
    config = PrepareConfig(num_frames=4, image_size=32, checks=UNCHECKED)
    evenly = prepare_scene(room, None, config)
    covering = prepare_scene(room, None, config.model_copy(update={"sampling": "coverage"}))
    assert evenly.coverage is not None and covering.coverage is not None
    assert evenly.coverage.chosen == evenly.coverage.uniform == covering.coverage.uniform
    assert covering.coverage.chosen > evenly.coverage.chosen + 0.05
    assert covering.coverage == coverage_of(room, covering.frame_names, config.voxel_m)
    write_prepared(covering, tmp_path)
    told = preparation_report(tmp_path)["coverage"]
    assert told["chosen"]["mean"] == told["chosen"]["lowest"] == covering.coverage.chosen
    assert told["uniform"]["lowest_scene"] == room.scene_id


def test_a_scene_whose_frames_are_all_kept_tells_no_coverage(room: Scene, tmp_path: Path) -> None:
    prepared = prepare_scene(room, None, PrepareConfig(num_frames=24, checks=UNCHECKED))
    assert prepared.coverage == Coverage(24, 1.0, 1.0)
    write_prepared(prepared, tmp_path)
    assert preparation_report(tmp_path)["coverage"] == {}


@pytest.mark.parametrize("kind", [kind for kind in SCENES if SCENES[kind].has_geometry])
def test_every_source_with_depth_has_frames_to_choose_from(kind: str, tmp_path: Path) -> None:
    settings = tiny_scenes(kind, tmp_path / "data")
    if settings.package is not None:
        pytest.importorskip(settings.package[0], reason=f"pip install {settings.package[1]}")
    (tmp_path / "written").mkdir()
    settings.write(tmp_path / "written", "student", lambda *_: None)
    source = settings.reader().open(tmp_path / "written")
    scene = source.load(source.scenes("all")[0])
    config = PrepareConfig(num_frames=1, sampling="coverage", checks=UNCHECKED)
    prepared = prepare_scene(scene, None, config)
    assert len(prepared.frame_names) == 1
    assert prepared.coverage is not None
    assert prepared.coverage.candidates == len(set(scene.frame_names)) > 1
    assert 1 > prepared.coverage.chosen >= prepared.coverage.uniform > 0


def test_the_order_of_frames_stays_and_the_choice_is_the_same_each_time(room: Scene) -> None:
    chosen: list[NDArray[np.int64]] = [covering_choice(room, 6, 0.1) for _ in range(2)]
    assert chosen[0].tolist() == sorted(set(chosen[0].tolist())) == chosen[1].tolist()
