"""Gram loss: how far the cosines among a scene's tokens are from those of a teacher's features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from threedrs_components.objectives.objective import Objective, StudentPass
from threedrs_components.objectives.token_gram import gram_differences
from threedrs_components.scenes.prepared import PreparedScene
from threedrs_components.teachers.maps import TeacherMap, stacked, teacher_map
from threedrs_platform.store.features import FeatureFolder

if TYPE_CHECKING:
    from threedrs_components.objectives.gram import GramConfig


class Gram(Objective):
    """Sum over scenes of the mean over places."""

    settings: GramConfig

    def __init__(self, settings: GramConfig, features: FeatureFolder) -> None:
        super().__init__(settings)
        self._features = features

    def target(self, scene: PreparedScene) -> TeacherMap:
        """The teacher's features of the scene, as stored."""
        return teacher_map(self._features, scene)

    def collate(self, targets: Sequence[TeacherMap]) -> Tensor:
        """[S, F, P, P, D] as stored: the loss widens them, on its device."""
        return stacked(targets)

    def forward(self, student_pass: StudentPass, whole: int) -> tuple[Tensor, dict[str, float]]:
        """The loss, and that of each place."""
        hidden = student_pass.output.hidden
        device = student_pass.output.states.device
        teacher: Tensor = student_pass.target.to(device).flatten(1, 3)
        losses = torch.stack(
            [
                torch.stack(
                    [
                        gram_loss(own, target)
                        for own, target in zip(hidden[layer].flatten(1, 3), teacher, strict=True)
                    ]
                ).sum()
                for layer in self.settings.layers
            ]
        )
        parts = zip(self.settings.layer_parts, (losses / whole).tolist(), strict=True)
        return losses.mean() / whole, dict(parts)


def gram_loss(states: Tensor, features: Tensor) -> Tensor:
    """Mean absolute difference of cosines over all pairs of different tokens; scalar float32.

    Args:
        states: [T, C] of one scene's tokens, T at least 2.
        features: [T, D] of a teacher; never receive a gradient.
    """
    tokens = len(states)
    total = gram_differences(states.float(), features.detach().float(), diagonal=False)
    return total / (tokens * (tokens - 1))
