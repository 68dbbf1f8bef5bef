"""Draws two frames of a scene with the places that both of them see."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from threedrs_components.scenes.prepared import scene_points
from threedrs_components.scenes.voxels import voxel_indices, voxel_keys
from threedrs_platform.errors import SceneError
from threedrs_platform.records import Scene

LINES = 24
GAP = 8
"""Pixels between the two frames."""
DOT = 3

Pixels = dict[int, tuple[float, float]]
"""Voxel key to (column, row), as shares of the image."""


@dataclass(frozen=True)
class Matches:
    """Places that two frames share; rows of `first` and `second` belong together."""

    frames: tuple[int, int]
    first: NDArray[np.float64]
    """[N, 2] column and row as shares of the image"""
    second: NDArray[np.float64]


def draw_correspondences(scene: Scene, out: Path, *, voxel_m: float = 0.1) -> Matches:
    """Write a PNG of two frames side by side, equal places joined by lines of one colour.

    Raises:
        SceneError: no two frames see the same voxel.
    """
    matches = find_matches(scene, voxel_m)
    height, width = scene.images.shape[1:3]
    canvas = Image.new("RGB", (2 * width + GAP, height), "white")
    pen = ImageDraw.Draw(canvas)
    for side, frame in enumerate(matches.frames):
        canvas.paste(Image.fromarray(scene.images[frame]), (side * (width + GAP), 0))
    size, shift = np.array([width, height]), np.array([width + GAP, 0])
    starts, ends = matches.first * size, matches.second * size + shift
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        hue = colorsys.hsv_to_rgb(number / len(starts), 1.0, 1.0)
        colour = tuple(round(255 * channel) for channel in hue)
        pen.line([*start, *end], fill=colour, width=2)
        for x, y in (start, end):
            pen.ellipse([x - DOT, y - DOT, x + DOT, y + DOT], fill=colour, outline="black")
    out.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(out, format="PNG")
    return matches


def find_matches(scene: Scene, voxel_m: float) -> Matches:
    """The two frames with many common voxels from far apart cameras, and up to LINES of these."""
    points, valid = scene_points(scene)
    pixels = [
        _voxel_pixels(frame, mask, voxel_m) for frame, mask in zip(points, valid, strict=True)
    ]
    centres = scene.camera_to_world[:, :3, 3]

    def merit(pair: tuple[int, int]) -> float:
        shared = len(pixels[pair[0]].keys() & pixels[pair[1]].keys())
        return shared * float(np.linalg.norm(centres[pair[0]] - centres[pair[1]]))

    pairs = list(combinations(range(len(pixels)), 2))
    first, second = max(pairs, key=merit, default=(0, 0))
    shared = sorted(pixels[first].keys() & pixels[second].keys(), key=lambda v: pixels[first][v])
    if first == second or not shared:
        raise SceneError(
            scene.scene_id,
            f"no two frames see the same voxel of {voxel_m} m; take more frames or larger voxels",
        )
    chosen = [shared[at] for at in np.unique(np.linspace(0, len(shared) - 1, LINES, dtype=int))]
    return Matches(
        (first, second),
        np.array([pixels[first][voxel] for voxel in chosen]),
        np.array([pixels[second][voxel] for voxel in chosen]),
    )


def _voxel_pixels(points: Tensor, valid: Tensor, voxel_m: float) -> Pixels:
    """For every voxel that a frame sees, the pixel in the middle of those that lie in it."""
    height, width = valid.shape
    keys = voxel_keys(voxel_indices(points[valid], voxel_m))
    voxels, inverse, counts = torch.unique(keys, return_inverse=True, return_counts=True)
    middle = torch.argsort(inverse, stable=True)[torch.cumsum(counts, 0) - 1 - counts // 2]
    places = valid.nonzero()[middle].flip(1).double() + 0.5
    shares = places / torch.tensor([width, height], dtype=torch.float64)
    return {
        int(voxel): (float(x), float(y))
        for voxel, (x, y) in zip(voxels.tolist(), shares.tolist(), strict=True)
    }
