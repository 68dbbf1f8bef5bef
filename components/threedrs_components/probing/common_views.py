"""Which two frames of a scene tell most about its correspondences."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch

from threedrs_components.scenes.prepared import scene_points
from threedrs_components.scenes.voxels import voxel_indices, voxel_keys
from threedrs_platform.records import Scene


def telling_views(scene: Scene, voxel_m: float = 0.1) -> tuple[int, int] | None:
    """Two frames that share many voxels although their cameras stand far apart.

    Returns:
        Frame numbers that maximise common voxels x distance; None if no two frames share any.
    """
    points, valid = scene_points(scene)
    seen = [
        torch.unique(voxel_keys(voxel_indices(frame[mask], voxel_m))).numpy()
        for frame, mask in zip(points, valid, strict=True)
    ]
    centres = scene.camera_to_world[:, :3, 3]
    best, most = None, (0.0, 0)
    for first, second in combinations(range(len(seen)), 2):
        shared = len(np.intersect1d(seen[first], seen[second], assume_unique=True))
        apart = float(np.linalg.norm(centres[first] - centres[second]))
        if (shared * apart, shared) > most:
            best, most = (first, second), (shared * apart, shared)
    return best
