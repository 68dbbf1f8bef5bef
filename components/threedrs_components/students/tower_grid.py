"""States of a vision tower at the token grid."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from threedrs_components.scenes.geometry import overlaps


def at_token_grid(states: Tensor, grid: int) -> Tensor:
    """[B, grid, grid, Cv] means of tower states [B, R * R, Cv], each by its area in the cell.

    A product of matrices: adaptive pooling has no gradient on a GPU that is the same every time.
    """
    rows = math.isqrt(states.shape[1])
    shares = overlaps(rows, grid).to(states.device, states.dtype)
    patches = torch.unflatten(states, 1, (rows, rows))
    return torch.einsum("ir,jc,brcd->bijd", shares, shares, patches)
