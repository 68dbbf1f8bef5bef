"""Whether the depth of one view, carried into another by their poses, is the depth there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from threedrs_components.scenes.frames import kept_frames
from threedrs_platform.records import Float32, Scene

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

SIDE = 24
"""Rows and columns of pixels that are looked at per frame."""
ROUGH_SIDE = 8
"""The same to find views that overlap."""
MOST_FRAMES = 64
"""Views among which pairs are looked for."""
MOST_PAIRS = 48
"""Ordered pairs of views that are compared."""
LEAST_OVERLAP = 0.25
"""Share of a view's pixels that must land inside the other."""
LEAST_POINTS = 100
"""Pixels without which nothing is said."""
LEAST_PAIRS = 4
"""Ordered pairs without which nothing is said: of two views alone, a corner may contradict."""
LEAST_SEEN = 0.2
"""Share of the pixels compared that cannot all be hidden."""
LEAST_BASELINE_M, LEAST_TURN = 0.1, 0.1
"""Motion between views in metres, or in radians: views from one place agree under any pose."""
TOLERANCE = 0.05
"""Relative difference of depths that agree."""
NEAR_M = 0.02
"""Points nearer to a camera than this are behind it."""


@dataclass(frozen=True)
class Agreement:
    """How far overlapping views agree."""

    share: float
    """Of the pixels that cannot be hidden, those whose depths agree"""
    error: float
    """Median relative difference of depths"""
    pairs: int


NONE = Agreement(0.0, np.inf, 0)


def views_agree(scene: Scene) -> Agreement | None:
    """Compare views that overlap while the camera moves; None if there are too few.

    A pixel agrees if its depth lies within the tolerance of the depths round the pixel it lands on.
    What lands farther away may be hidden there, and counts for nothing; what lands nearer cannot
    be, for the other view looked through that place. Wrong geometry shows in one of two directions.
    """
    scene = _thinned(scene)
    poses = scene.camera_to_world.astype(np.float64)
    if not np.isfinite(poses).all() or (np.abs(np.linalg.det(poses[:, :3, :3])) < 1e-6).any():
        return None
    first, second = _overlapping(scene, poses)
    if len(first) < LEAST_PAIRS:
        return None
    points, valid = depth_samples(scene.depth, scene.depth_intrinsics, SIDE)
    landed = _into(points[first], poses[first], poses[second])
    difference, compared = _differences(scene, landed, valid[first], second)
    if compared.sum() < LEAST_POINTS:
        return None
    errors = difference[compared]
    agreeing = np.abs(errors) <= TOLERANCE
    judged = max(float((agreeing | (errors < 0)).sum()), LEAST_SEEN * len(errors))
    share = float(agreeing.sum() / judged)
    return Agreement(share, float(np.median(np.abs(errors))), len(first))


def best_reading(scene: Scene) -> tuple[Agreement, str]:
    """The highest agreement under any other reading of poses or depth, and that reading."""
    found = ((views_agree(read(scene)) or NONE, words) for words, read in READINGS.items())
    return max(found, key=lambda each: each[0].share)


def depth_samples(depth: Float32, intrinsics: Float32, side: int) -> tuple[Array, Mask]:
    """Points [F, n, 3] in their cameras of about side x side pixels per frame, and which are valid
    [F, n]."""
    height, width = depth.shape[1:3]
    rows, columns = (np.unique(_middles(size, side)) for size in (height, width))
    metres = depth[:, rows[:, None], columns].reshape(len(depth), -1).astype(np.float64)
    valid: Mask = np.isfinite(metres) & (metres > 0)
    v, u = np.meshgrid(rows, columns, indexing="ij")
    pixels = np.stack([u.ravel(), v.ravel(), np.ones(u.size)], axis=1)
    rays = np.asarray(pixels @ np.linalg.inv(intrinsics.astype(np.float64)).T, np.float64)
    points: Array = rays * np.where(valid, metres, 0.0)[..., None]
    return points, valid


def _thinned(scene: Scene) -> Scene:
    frames = len(scene.frame_names)
    if frames <= MOST_FRAMES:
        return scene
    return kept_frames(scene, _middles(frames, MOST_FRAMES))


def _middles(size: int, parts: int) -> NDArray[np.int64]:
    return ((np.arange(parts) + 0.5) * size / parts).astype(np.int64)


def _into(points: Array, source: Array, target: Array) -> Array:
    """Points [P, n, 3] of cameras `source` [P, 4, 4] in the cameras `target`."""
    moved = np.linalg.inv(target) @ source
    carried: Array = points @ np.swapaxes(moved[:, :3, :3], 1, 2) + moved[:, None, :3, 3]
    return carried


def _pixels(scene: Scene, points: Array) -> tuple[NDArray[np.int64], NDArray[np.int64], Mask]:
    """Columns, rows and whether inside, of points [..., 3] in a camera."""
    height, width = scene.depth.shape[1:3]
    depth = points[..., 2]
    ahead = depth > NEAR_M
    flat = points @ scene.depth_intrinsics.astype(np.float64).T
    safe = np.where(ahead, depth, 1.0)
    u, v = (np.rint(np.clip(flat[..., axis] / safe, -1e6, 1e6)).astype(np.int64) for axis in (0, 1))
    inside = ahead & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    return u, v, inside


def _overlapping(scene: Scene, poses: Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First and second views of ordered pairs that overlap and differ in pose, evenly chosen."""
    frames = len(poses)
    points, valid = depth_samples(scene.depth, scene.depth_intrinsics, ROUGH_SIDE)
    first, second = (index.ravel() for index in np.indices((frames, frames)))
    names = np.array(scene.frame_names)
    turned = np.einsum("aij,bij->ab", poses[:, :3, :3], poses[:, :3, :3])[first, second]
    turn = np.arccos(np.clip((turned - 1) / 2, -1, 1))
    baseline = np.linalg.norm(poses[first, :3, 3] - poses[second, :3, 3], axis=1)
    moved = (baseline >= LEAST_BASELINE_M) | (turn >= LEAST_TURN)
    wanted = np.flatnonzero((names[first] != names[second]) & moved)
    first, second = first[wanted], second[wanted]
    _, _, inside = _pixels(scene, _into(points[first], poses[first], poses[second]))
    share = (inside & valid[first]).sum(1) / np.maximum(valid[first].sum(1), 1)
    found = np.flatnonzero(share >= LEAST_OVERLAP)
    if len(found) > MOST_PAIRS:
        found = found[_middles(len(found), MOST_PAIRS)]
    return first[found], second[found]


def _differences(
    scene: Scene, landed: Array, valid: Mask, second: NDArray[np.int64]
) -> tuple[Array, Mask]:
    """Relative difference [P, n] to the depths round where points land, negative in front of them,
    and where it is known."""
    height, width = scene.depth.shape[1:3]
    u, v, inside = _pixels(scene, landed)
    u, v = np.clip(u, 0, width - 1), np.clip(v, 0, height - 1)
    nearest: Array = np.full(u.shape, np.inf)
    farthest: Array = np.zeros(u.shape)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            rows, columns = np.clip(v + down, 0, height - 1), np.clip(u + right, 0, width - 1)
            depth = scene.depth[second[:, None], rows, columns]
            known = np.isfinite(depth) & (depth > 0)
            nearest = np.where(known, np.minimum(nearest, depth), nearest)
            farthest = np.where(known, np.maximum(farthest, depth), farthest)
    compared = inside & valid & (farthest > 0)
    ahead = landed[..., 2]
    outside = np.maximum(ahead - farthest, 0.0) - np.maximum(nearest - ahead, 0.0)
    return outside / np.maximum(farthest, NEAR_M), compared


def _posed(scene: Scene, poses: Array) -> Scene:
    return dataclasses.replace(scene, camera_to_world=poses.astype(np.float32))


def _scaled(factor: float) -> Callable[[Scene], Scene]:
    return lambda scene: dataclasses.replace(scene, depth=scene.depth * np.float32(factor))


def _cure(factor: float) -> str:
    if factor > 1:
        return f"divide scenes.depth_scale by {factor:g}"
    return f"multiply scenes.depth_scale by {1 / factor:g}"


OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
READINGS: Mapping[str, Callable[[Scene], Scene]] = {
    "with poses inverted: they are world-to-camera, and camera-to-world is wanted": lambda scene: (
        _posed(scene, np.linalg.inv(scene.camera_to_world.astype(float)))
    ),
    "with y and z of the camera turned round: poses have OpenGL axes (y up, looking along -z), and "
    "OpenCV's are wanted": lambda scene: _posed(scene, scene.camera_to_world @ OPENGL),
    "with poses inverted, and y and z of the camera turned round: they are world-to-camera with "
    "OpenGL axes": lambda scene: _posed(
        scene, np.linalg.inv(scene.camera_to_world.astype(float)) @ OPENGL
    ),
} | {
    f"with depth times {factor:g}: {_cure(factor)}": _scaled(factor)
    for factor in (0.001, 0.1, 0.2, 0.25, 0.5, 0.8, 1.25, 2.0, 4.0, 5.0, 10.0, 1000.0)
}
"""What else poses or depth may mean, in words that follow "they agree to 0.9"."""
