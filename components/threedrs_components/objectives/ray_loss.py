"""Ray loss: how far the direction and centre of each token's ray are from those of its camera."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from threedrs_components.objectives.objective import Objective, StudentPass
from threedrs_components.objectives.token_head import TokenHead
from threedrs_components.scenes.prepared import PreparedScene, scene_geometry
from threedrs_components.scenes.token_geometry import TokenGeometry

if TYPE_CHECKING:
    from threedrs_components.objectives.ray import RayConfig

CHANNELS = 6
"""Direction, then centre."""


class Ray(Objective):
    """Sum over scenes of the mean over their tokens."""

    settings: RayConfig

    def __init__(self, settings: RayConfig, width: int) -> None:
        super().__init__(settings)
        self.head = TokenHead(width, settings.head_width, CHANNELS)

    def target(self, scene: PreparedScene) -> TokenGeometry:
        """Rays and cameras of the scene: the order of frames tells which one is the world."""
        return scene_geometry(scene)

    def forward(self, student_pass: StudentPass, whole: int) -> tuple[Tensor, dict[str, float]]:
        """The batch's share of the step's loss."""
        rays = self.head(student_pass.output.hidden[self.settings.layer])
        scenes: tuple[TokenGeometry, ...] = student_pass.target
        order = student_pass.batch.frames.order
        first = [0] * len(scenes) if order is None else order[:, 0].tolist()
        known = torch.stack(
            [each.ray_maps(frame) for each, frame in zip(scenes, first, strict=True)]
        )
        return ray_loss(rays, known.to(rays.device)).sum() / whole, {}


def ray_loss(rays: Tensor, known: Tensor) -> Tensor:
    """[S] mean over tokens of the length of the difference of ray maps [S, F, P, P, 6]."""
    lengths: Tensor = torch.linalg.vector_norm(rays - known, dim=-1)
    return lengths.flatten(1).mean(1)
