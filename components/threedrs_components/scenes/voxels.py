"""Voxels as exact integer triples, and one integer key per triple."""

from __future__ import annotations

import torch
from torch import Tensor

BITS = 21
"""Bits per axis in a key: +-1,048,575 voxels, about 100 km at 0.1 m."""

LOWEST_M = (-15.0, -15.0, -5.0)
HIGHEST_M = (15.0, 15.0, 5.0)
"""Where coordinates are clamped before they are encoded, x y z, as released."""
RELEASED_VOXEL_M = 0.1


def voxel_indices(points: Tensor, voxel_m: float = 0.1) -> Tensor:
    """Nearest voxel of each point [..., 3]: int64 triples, unclamped."""
    return torch.round(points.to(torch.float32) / voxel_m).to(torch.int64)


def voxel_keys(indices: Tensor) -> Tensor:
    """One int64 per triple [..., 3]; two keys are equal exactly when the triples are."""
    limit = 1 << (BITS - 1)
    # In Python's integers: the lowest of int64, which no finite number became, has no absolute.
    extremes = (int(indices.min()), int(indices.max())) if indices.numel() else (0, 0)
    farthest = max(extremes, key=abs)
    if abs(farthest) >= limit:
        raise ValueError(
            f"voxel index {farthest} does not fit {BITS} bits: are the coordinates in metres?"
        )
    x, y, z = (indices + limit).unbind(-1)
    return (((x << BITS) | y) << BITS) | z


def narrowly_binned(points: Tensor, dtype: torch.dtype) -> Tensor:
    """Points [..., 3] to the voxels that arithmetic in a narrow format finds, as released.

    Returns:
        float32 middles of the voxels: binned in whatever format, they stay where they are.
    """
    lowest = torch.tensor(LOWEST_M, dtype=dtype)
    narrow = points.to(dtype).clamp(lowest, torch.tensor(HIGHEST_M, dtype=dtype))
    steps = ((narrow - lowest) / RELEASED_VOXEL_M).round()
    return lowest.to(torch.float32) + steps.to(torch.float32) * RELEASED_VOXEL_M
