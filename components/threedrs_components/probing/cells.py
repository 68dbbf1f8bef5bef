"""Which token cells of a scene linear probes read, and what is true of them."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from threedrs_components.scenes.prepared import PreparedScene, scene_geometry


@dataclass(frozen=True)
class Cells:
    """Some cells of one scene, n of them."""

    tokens: Tensor
    """[n] int64, numbered frame by frame and row by row"""
    depths: Tensor
    """[n, 1] float32 metres"""
    normals: Tensor
    """[n, 3] float32 in the camera's axes"""
    content_free: Tensor
    """[n, P * P] float32: where in its frame a cell lies, and nothing else"""


def drawn_cells(scene: PreparedScene, most: int) -> Cells:
    """Cells whose depth and normal are known, drawn by the scene's name alone.

    Raises:
        DataError: the scene was prepared before they were kept.
    """
    geometry = scene_geometry(scene)
    known = (geometry.depths > 0) & geometry.normals.any(-1)
    found = known.flatten().nonzero()[:, 0].tolist()
    chosen = random.Random(f"{scene.scene_id}/cells").sample(found, min(most, len(found)))
    tokens = torch.tensor(sorted(chosen), dtype=torch.int64)
    in_frame = scene.grid**2
    return Cells(
        tokens=tokens,
        depths=geometry.depths.flatten()[tokens, None],
        normals=geometry.normals.flatten(0, 2)[tokens],
        content_free=torch.eye(in_frame)[tokens % in_frame],
    )
