"""Which boxes of a scene hold a point of its frames' depth: few do if they are of another scene."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from threedrs_components.scenes.frames import MILLIMETRES, NO_READING
from threedrs_platform.records import Float32

POINTS_A_SIDE = 30
"""Rows of depth that boxes are held against, and about as many columns."""
NEAR_M = 0.05
"""A point so close to a box counts as in it: depth is noisy and surfaces are boundaries."""


class BoxPoints:
    """Which boxes hold a point of the frames' depth."""

    def __init__(self, boxes: Float32, alignment: NDArray[np.float64]) -> None:
        self.boxes = boxes
        self._low = boxes[:, :3] - boxes[:, 3:] / 2 - NEAR_M
        self._high = boxes[:, :3] + boxes[:, 3:] / 2 + NEAR_M
        self._found = np.zeros(len(boxes), dtype=bool)
        self._alignment = alignment

    def add(self, depth: NDArray[np.uint16], pose: Float32, intrinsics: Float32) -> None:
        """Look at some points of a frame; depth [h, w], pose [4, 4], intrinsics [3, 3]."""
        left = np.flatnonzero(~self._found)
        height, width = depth.shape
        every = max(1, min(height, width) // POINTS_A_SIDE)
        rows, columns = np.mgrid[0:height:every, 0:width:every]
        z = depth[rows, columns].astype(np.float64)
        valid = (z > 0) & (z < NO_READING)
        if not len(left) or not valid.any():
            return
        pixels = np.stack([columns[valid], rows[valid], np.ones(valid.sum())])
        local = np.linalg.inv(intrinsics) @ pixels * (z[valid] / MILLIMETRES)
        to_world = self._alignment @ pose
        points = (to_world[:3, :3] @ local).T + to_world[:3, 3]
        for box in left:
            inside = (points >= self._low[box]) & (points <= self._high[box])
            self._found[box] = inside.all(axis=1).any()

    def share(self) -> float | None:
        """Share of the boxes; None of no boxes."""
        return round(float(self._found.mean()), 3) if len(self._found) else None
