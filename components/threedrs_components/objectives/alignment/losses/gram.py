"""Distance of the cosines among a scene's own tokens: the first release added it to the cosine."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

GRAM_ROWS = 1024
"""Rows of a Gram matrix that exist at a time; bounds memory, never changes a result."""


def distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean absolute difference of cosines, over all pairs of tokens of one scene.

    Time grows with the square of N; of the N x N matrices only GRAM_ROWS rows exist at a time,
    also for the gradient.

    Args:
        student: [..., N, D] float32.
        teacher: [..., N, D] float32.
    """
    own_units, target_units = (
        normalize(values, dim=-1).reshape(-1, *values.shape[-2:]) for values in (student, teacher)
    )
    total = student.new_zeros(())
    for own, target in zip(own_units, target_units, strict=True):
        for rows in torch.split(torch.arange(len(own), device=own.device), GRAM_ROWS):
            # Recomputed in the backward pass: keeping its rows would keep the whole matrix.
            part = checkpoint(_rows, own, target, rows, use_reentrant=False)
            assert isinstance(part, Tensor)
            total = total + part
    return total / (student[..., 0].numel() * student.shape[-2])


def _rows(student: Tensor, teacher: Tensor, rows: Tensor) -> Tensor:
    # bfloat16 would round cosines to three digits.
    with torch.autocast(student.device.type, enabled=False):
        return (student[rows] @ student.T - teacher[rows] @ teacher.T).abs().sum()
