"""Probing whole scenes, and the picture of their correspondences."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from threedrs_components.probing.common_views import telling_views
from threedrs_components.probing.scene_probe import pooled_to_grid, probe_scene, total_probe
from threedrs_components.scenes.geometry import cell_means, nearest_pixels
from threedrs_components.scenes.pairs import token_pair_matrix
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.prepared import (
    PreparedScenes,
    prepare_scene,
    scene_pairs,
    scene_points,
    write_prepared,
)
from threedrs_components.teachers.colours import RGBConfig
from threedrs_platform.errors import DataError, SceneError
from threedrs_platform.records import Scene

HEIGHT, WIDTH, WALL_M = 24, 32, 2.0


def wall_scene(frames: int = 4, step_m: float = 0.2, names: tuple[str, ...] = ()) -> Scene:
    """Cameras side by side look at one wall, whose colour is a function of the place."""
    focal = 20.0
    intrinsics = np.array([[focal, 0, WIDTH / 2], [0, focal, HEIGHT / 2], [0, 0, 1]], np.float32)
    poses = np.tile(np.eye(4, dtype=np.float32), (frames, 1, 1))
    poses[:, 0, 3] = np.arange(frames) * step_m
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    x = (u - WIDTH / 2) * WALL_M / focal + poses[:, 0, 3, None, None]
    y = np.broadcast_to((v - HEIGHT / 2) * WALL_M / focal, x.shape)
    colours = np.stack([np.sin(x * 2), np.cos(y * 2), np.sin(x + y)], axis=-1)
    return Scene(
        scene_id="wall",
        frame_names=names or tuple(f"frame-{number:06d}" for number in range(frames)),
        images=np.round(127.5 * (colours + 1)).astype(np.uint8),
        depth=np.full((frames, HEIGHT, WIDTH), WALL_M, np.float32),
        color_intrinsics=intrinsics,
        depth_intrinsics=intrinsics,
        camera_to_world=poses,
        axis_alignment=np.eye(4, dtype=np.float32),
    )


def rgb_features(scene: Scene) -> Tensor:
    return RGBConfig(grid=4).build().scene_features(scene)


def place_features(scene: Scene) -> Tensor:
    """Features that know where a token lies, however it is seen."""
    means, _ = cell_means(*scene_points(scene), 4, 4)
    return torch.cat([torch.sin(3 * means), torch.cos(3 * means)], dim=-1)


def test_place_scores_higher_than_noise() -> None:
    scene = wall_scene()
    noise = torch.randn(4, 4, 4, 32, generator=torch.Generator().manual_seed(0))
    place = probe_scene(scene, place_features, grid=4).score
    assert place.score > 0.8 and place.margin > 0.4
    assert abs(probe_scene(scene, lambda _: noise, grid=4).score.margin) < 0.1


def test_colours_of_a_wall_correspond() -> None:
    probe = probe_scene(wall_scene(), rgb_features, grid=4)
    assert probe.score.margin > 0.3
    assert (probe.scene, probe.grid, probe.score.frames, probe.score.tokens) == ("wall", 4, 4, 64)


def test_the_grid_is_the_papers_or_the_models_if_coarser() -> None:
    scene = wall_scene(frames=2)
    assert probe_scene(scene, RGBConfig(grid=20).build().scene_features).grid == 14
    assert probe_scene(scene, place_features).grid == 4


def test_finer_features_are_averaged_to_the_grid() -> None:
    features = torch.arange(32.0).view(1, 4, 4, 2)
    pooled = pooled_to_grid(features, 2)
    assert torch.equal(pooled[0, 0, 1], features[0, :2, 2:].mean(dim=(0, 1)))


def test_a_grid_finer_than_the_model_is_refused() -> None:
    with pytest.raises(ValueError, match="4 x 4 features per frame, too few for a grid of 7; use"):
        probe_scene(wall_scene(), place_features, grid=7)


def test_a_repeated_frame_is_no_second_view() -> None:
    scene = wall_scene(frames=2, step_m=0.0, names=("a", "a"))
    probe = probe_scene(scene, place_features, grid=4)
    assert (probe.score.frames, probe.score.pairs) == (1, 0)


def test_the_total_is_the_mean_over_scenes_with_pairs() -> None:
    apart = wall_scene(frames=2, step_m=50.0)
    probes = [
        probe_scene(wall_scene(), rgb_features, grid=4),
        probe_scene(wall_scene(frames=2), rgb_features, grid=4),
        probe_scene(apart, rgb_features, grid=4),
    ]
    total = total_probe(probes)
    assert (total.scenes, total.scenes_with_pairs) == (3, 2)
    assert total.score.score == pytest.approx((probes[0].score.score + probes[1].score.score) / 2)
    assert total.score.pairs == probes[0].score.pairs + probes[1].score.pairs
    assert math.isnan(total_probe(probes[2:]).score.score)


def test_prepared_scenes_keep_the_pairs_of_their_images_pixels(tmp_path: Path) -> None:
    scene = wall_scene()
    config = PrepareConfig(image_size=16, grid=4, num_frames=4)
    write_prepared(prepare_scene(scene, None, config), tmp_path)
    prepared = PreparedScenes(tmp_path)["wall"]
    for level in ("pixel", "token"):
        pairs = scene_pairs(prepared, level=level, voxel_m=0.1)
        points, valid = (nearest_pixels(each, 16, 16) for each in scene_points(scene))
        own = token_pair_matrix(points, valid, grid=4, level=level)
        assert pairs.positive_pairs == own.positive_pairs
        assert pairs.points.tolist() == own.points.tolist()
    with pytest.raises(DataError, match=r"prepared with voxels of 0.1 m, asked for 0.2 m; set"):
        scene_pairs(prepared, level="pixel", voxel_m=0.2)


def test_a_frame_prepared_twice_has_no_pairs_with_itself() -> None:
    config = PrepareConfig(image_size=16, grid=4, num_frames=4)
    prepared = prepare_scene(wall_scene(frames=1), None, config)
    for level in ("pixel", "token"):
        assert scene_pairs(prepared, level=level, voxel_m=0.1).positive_pairs == 0


def test_telling_views_share_places_from_afar() -> None:
    """Each camera sees 3.2 m of wall, so width in common x distance is most at 1.6 m."""
    first, second = telling_views(wall_scene(frames=6, step_m=0.5)) or (0, 0)
    assert second - first == 3


def test_cameras_that_share_no_voxel_tell_nothing() -> None:
    assert telling_views(wall_scene(frames=2, step_m=50.0)) is None


def test_depth_that_is_no_length_names_the_scene() -> None:
    scene = wall_scene(frames=2)
    broken = dataclasses.replace(scene, depth=np.full_like(scene.depth, 1e9))
    with pytest.raises(
        SceneError, match=r"scene wall: voxel index .* are the coordinates in metres"
    ):
        probe_scene(broken, rgb_features, grid=4)
