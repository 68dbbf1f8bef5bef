"""The paper's equation, mean(-cos), plus 1: the constant moves no gradient, and 0 is perfect."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cosine_similarity


def distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over tokens of 1 - cos between [..., N, D] features."""
    return (1 - cosine_similarity(student, teacher, dim=-1)).mean()
