"""Camera poses as some 3D teachers give them: nine numbers, which become matrices.

Translation (3), quaternion x, y, z, w (4), vertical and horizontal field of view in radians (2).
"""

from __future__ import annotations

import torch
from torch import Tensor


def matrices_of(pose: Tensor) -> Tensor:
    """[..., 9] poses -> [..., 3, 4]: rotation beside translation."""
    x, y, z, w = (pose[..., 3:7] / pose[..., 3:7].norm(dim=-1, keepdim=True)).unbind(-1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], -1),
        torch.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], -1),
        torch.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], -1),
    ]
    return torch.cat([torch.stack(rows, -2), pose[..., :3, None]], -1)


def inverted(matrices: Tensor) -> Tensor:
    """[..., 3, 4] rotation beside translation -> the way back, likewise."""
    back = matrices[..., :3].mT
    return torch.cat([back, -back @ matrices[..., 3:]], -1)


def intrinsics_of(
    pose: Tensor, height: int, width: int, least_tangent: float | None = None
) -> Tensor:
    """[..., 9] poses -> [..., 3, 3]; the principal point is the picture's centre.

    Where `least_tangent` is given, no half field of view is narrower.
    """
    tangents = torch.tan(pose[..., 7:] / 2)
    if least_tangent is not None:
        tangents = tangents.clamp(min=least_tangent)
    matrices = pose.new_zeros(*pose.shape[:-1], 3, 3)
    matrices[..., 1, 1] = height / 2 / tangents[..., 0]
    matrices[..., 0, 0] = width / 2 / tangents[..., 1]
    matrices[..., 2, 2] = 1
    matrices[..., 0, 2], matrices[..., 1, 2] = width / 2, height / 2
    return matrices
