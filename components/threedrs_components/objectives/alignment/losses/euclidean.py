"""The released code's loss: the squared distance of unit vectors, 2 - 2 cos."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cosine_similarity


def distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over tokens of the squared distance between the directions of [..., N, D] features."""
    # So "euclidean" is "cosine" at twice the weight; no unit vectors need be formed.
    return 2 * (1 - cosine_similarity(student, teacher, dim=-1)).mean()
