"""Which frames see most of a scene: voxels that depth finds, greedy maximum coverage, shares.

Frames that see most of a room under a budget are what Video-3D LLM and Spatial-MLLM sample; here
voxels come from the sensor's depth. The greedy choice sees at least 63 % of what the best one does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from threedrs_components.scenes.frames import uniform_choice
from threedrs_components.scenes.geometry import world_coordinates
from threedrs_components.scenes.voxels import BITS, voxel_indices, voxel_keys
from threedrs_platform.records import Scene

SIDE = 64
"""Rows and columns of depth pixels that are looked at per frame, at most: at 3 m they are about
5 cm apart, nearer than voxels of 10 cm."""
FARTHEST_M = 1000.0
"""No coordinate of a room is larger; what is counts as not seen, as what is no number does."""

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Coverage:
    """How much of what all candidates see some of them see, as shares of voxels in [0, 1]."""

    candidates: int
    """Different frames that there were to choose from"""
    chosen: float
    """What the frames see that were chosen"""
    uniform: float
    """What as many frames see, evenly spread"""


def covering_choice(scene: Scene, wanted: int, voxel_m: float) -> Indices:
    """Indices of `wanted` frames that together see many voxels, in the scene's order.

    The same as `uniform_choice` where there are no more than `wanted` different frames, or where
    no frame sees anything.
    """
    candidates = _distinct(scene)
    if len(candidates) <= wanted:
        return uniform_choice(len(scene.frame_names), wanted)
    seen = seen_voxels(scene, candidates, voxel_m)
    chosen = greedy_cover(seen, wanted) if seen.nnz else uniform_choice(len(candidates), wanted)
    frames: NDArray[np.int64] = candidates[np.sort(chosen)]
    return frames


def coverage_of(scene: Scene, frame_names: Sequence[str], voxel_m: float) -> Coverage | None:
    """What frames of a scene, by name, see of what all of its frames see; None where that is
    nothing."""
    candidates, wanted = _distinct(scene), len(frame_names)
    if len(candidates) <= len(set(frame_names)):
        return Coverage(len(candidates), 1.0, 1.0)
    seen = seen_voxels(scene, candidates, voxel_m)
    if not seen.nnz:
        return None
    evenly = {scene.frame_names[at] for at in uniform_choice(len(scene.frame_names), wanted)}
    names = np.array(scene.frame_names)[candidates]
    shares = [_share(seen, np.isin(names, [*kept])) for kept in (set(frame_names), evenly)]
    return Coverage(len(candidates), *shares)


def seen_voxels(scene: Scene, frames: Indices, voxel_m: float) -> sparse.csr_array:
    """[frames, voxels] with an entry where a frame sees a voxel, by at most SIDE x SIDE pixels.

    Points that are no finite numbers, or beyond any room, count as not seen.
    """
    step = -(-max(scene.depth.shape[1:]) // SIDE)
    intrinsics = torch.from_numpy(scene.depth_intrinsics).clone()
    intrinsics[:2] /= step
    points, valid = world_coordinates(
        torch.from_numpy(scene.depth[frames, ::step, ::step]),
        intrinsics,
        torch.from_numpy(scene.camera_to_world[frames]),
        torch.from_numpy(scene.axis_alignment),
    )
    farthest = min(FARTHEST_M, voxel_m * ((1 << (BITS - 1)) - 1))  # what a key has room for
    located = valid & (points.abs().amax(-1) <= farthest)  # before rounding: NaN is no integer
    keys = voxel_keys(voxel_indices(points[located], voxel_m))
    places, voxels = np.unique(keys.numpy(), return_inverse=True)
    of_frame = np.nonzero(located.numpy())[0]
    entries = np.ones(len(voxels), dtype=np.int32)
    seen = sparse.coo_array((entries, (of_frame, voxels)), (len(frames), len(places))).tocsr()
    seen.sum_duplicates()
    return seen


def greedy_cover(seen: sparse.csr_array, budget: int) -> list[int]:
    """Rows, each the one that sees most columns not seen yet; the first of those that see as many.

    Where no row adds anything, what is left is chosen as if nothing had been seen: places are then
    seen twice. Takes time in proportion to the entries, and rows times `budget`.

    Args:
        seen: [rows, columns], an entry where a row sees a column.
        budget: rows to choose, at most all.

    Returns:
        In the order in which they were chosen.
    """
    by_column, whole = seen.T.tocsr(), np.diff(seen.indptr).astype(np.int64)
    gains, fresh = whole.copy(), np.ones(seen.shape[1], dtype=bool)
    left, order = np.ones(seen.shape[0], dtype=bool), list[int]()
    while len(order) < min(budget, seen.shape[0]):
        best = int(np.argmax(np.where(left, gains, -1)))
        if gains[best] == 0 and whole[left].any():
            gains, fresh = whole.copy(), np.ones_like(fresh)
            continue
        left[best] = False
        order.append(best)
        columns = seen.indices[seen.indptr[best] : seen.indptr[best + 1]]
        new = columns[fresh[columns]]
        fresh[new] = False
        gains -= np.bincount(by_column[new].indices, minlength=len(gains))
    return order


def _share(seen: sparse.csr_array, rows: NDArray[np.bool_]) -> float:
    """Of the columns that any row sees, those that the chosen rows see."""
    return len(np.unique(seen[rows].indices)) / int(seen.shape[1])


def _distinct(scene: Scene) -> Indices:
    """Indices of frames that did not occur before: a short list is filled with repeats."""
    _, first = np.unique(scene.frame_names, return_index=True)
    return np.sort(first).astype(np.int64)
