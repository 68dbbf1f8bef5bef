"""Frames whose cameras zoom become frames of one camera, and their points stay where they were."""

from __future__ import annotations

import torch
from scipy.spatial import cKDTree

from threedrs_components.scenes.geometry import world_coordinates
from threedrs_components.scenes.one_camera import seen_by, shared_camera
from threedrs_components.testing.zoo_downloads import shoot
from threedrs_platform.records import Float32

HALF_A_PIXEL = 0.02
"""Metres that it spans at the far end of a room, diagonally."""


def test_points_of_a_zooming_camera_lie_where_they_were() -> None:
    film = shoot(3, zoom=0.1)
    shared = shared_camera(film.intrinsics)
    depth = seen_by(shared, film.intrinsics, film.depth, repeat_edge=False)
    assert farthest(film.points, depth, shared, film.camera_to_world) < HALF_A_PIXEL
    assert farthest(film.points, film.depth, shared, film.camera_to_world) > 3 * HALF_A_PIXEL
    assert 0.8 < (depth > 0).mean() < 1 and (depth[1] == film.depth[1]).all()


def farthest(truth: Float32, depth: Float32, camera: Float32, poses: Float32) -> float:
    """Largest distance of a point to the nearest true one of its frame, metres."""
    seen_depth, seen_camera, seen_poses = map(torch.from_numpy, (depth, camera, poses))
    points, valid = world_coordinates(seen_depth, seen_camera, seen_poses, torch.eye(4))
    frames = zip(truth, points.numpy(), valid.numpy(), strict=True)
    return max(
        float(cKDTree(true.reshape(-1, 3)).query(seen[there])[0].max())
        for true, seen, there in frames
    )


def test_colours_move_along_and_repeat_the_edge() -> None:
    film = shoot(3, zoom=0.1)
    shared = shared_camera(film.intrinsics)
    images = seen_by(shared, film.intrinsics, film.images, repeat_edge=True)
    depth = seen_by(shared, film.intrinsics, film.depth, repeat_edge=False)
    centre = (slice(None), slice(90, 102), slice(122, 134))
    assert (images[centre] == film.images[centre]).all(axis=-1).mean() > 0.9
    assert (images[0] != film.images[0]).any() and (images[depth == 0].max(axis=-1) > 0).all()


def test_frames_of_one_camera_are_left_alone() -> None:
    film = shoot(2)
    assert seen_by(film.intrinsics[0], film.intrinsics, film.depth, repeat_edge=False) is film.depth
