"""Cosines among a scene's own tokens, compared some rows at a time: T x T values never exist."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.checkpoint import checkpoint

GRAM_ROWS = 1024
"""Rows of a Gram matrix that exist at a time; bounds memory, never changes a result."""


def gram_differences(student: Tensor, teacher: Tensor, *, diagonal: bool) -> Tensor:
    """Sum over pairs of tokens of how far their cosine lies from the teacher's.

    Time grows with the square of T; of the T x T matrices only GRAM_ROWS rows exist at a time,
    also for the gradient.

    Args:
        student: [T, C] float32.
        teacher: [T, D] float32, of a width of its own.
        diagonal: whether tokens are compared with themselves, too.
    """
    own, target = normalize(student, dim=-1), normalize(teacher, dim=-1)
    total = student.new_zeros(())
    for rows in torch.split(torch.arange(len(own), device=own.device), GRAM_ROWS):
        # Recomputed in the backward pass: keeping its rows would keep the whole matrix.
        part = checkpoint(_rows, own, target, rows, diagonal, use_reentrant=False)
        assert isinstance(part, Tensor)
        total = total + part
    return total


def _rows(student: Tensor, teacher: Tensor, rows: Tensor, diagonal: bool) -> Tensor:
    # bfloat16 would round cosines to three digits.
    with torch.autocast(student.device.type, enabled=False):
        apart = (student[rows] @ student.T - teacher[rows] @ teacher.T).abs()
        if not diagonal:
            apart = apart.scatter(1, rows[:, None], 0.0)
        return apart.sum()
