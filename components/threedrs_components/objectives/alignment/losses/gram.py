"""Distance of the cosines among a scene's own tokens: the first release added it to the cosine."""

from __future__ import annotations

from torch import Tensor

from threedrs_components.objectives.token_gram import gram_differences


def distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean absolute difference of cosines, over all pairs of tokens of one scene.

    Args:
        student: [..., N, D] float32.
        teacher: [..., N, D] float32.
    """
    scenes = (values.reshape(-1, *values.shape[-2:]) for values in (student, teacher))
    total = student.new_zeros(())
    for own, target in zip(*scenes, strict=True):
        total = total + gram_differences(own, target, diagonal=True)
    return total / (student[..., 0].numel() * student.shape[-2])
