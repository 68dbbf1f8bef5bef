"""Depth loss: errors of the depth of token cells, and of its slopes, wherever depth is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import softplus

from threedrs_components.objectives.objective import Objective, StudentPass
from threedrs_components.objectives.token_head import TokenHead
from threedrs_components.scenes.prepared import PreparedScene, scene_geometry

if TYPE_CHECKING:
    from threedrs_components.objectives.depth import DepthConfig


class Depth(Objective):
    """Sum over scenes of the loss over their known cells."""

    settings: DepthConfig

    def __init__(self, settings: DepthConfig, width: int) -> None:
        super().__init__(settings)
        self.head = TokenHead(width, settings.head_width, 1)

    def target(self, scene: PreparedScene) -> Tensor:
        """[F, P, P] float32 metres; 0 where no pixel of a cell has depth."""
        return scene_geometry(scene).depths

    def collate(self, targets: Sequence[Tensor]) -> Tensor:
        """[S, F, P, P]."""
        return torch.stack(list(targets))

    def forward(self, student_pass: StudentPass, whole: int) -> tuple[Tensor, dict[str, float]]:
        """The batch's share of the step's loss."""
        states = student_pass.output.hidden[self.settings.layer]
        # Always positive, and of even slope far away, where an exponential would explode.
        depths = softplus(self.head(states)[..., 0])
        measured = student_pass.target.to(depths.device)
        return depth_loss(depths, measured, slopes=self.settings.slopes).sum() / whole, {}


def depth_loss(depths: Tensor, measured: Tensor, *, slopes: float) -> Tensor:
    """[S] mean absolute error, plus `slopes` times that of differences down and across a frame.

    Args:
        depths: [S, F, P, P] float32 metres.
        measured: [S, F, P, P]; where it is 0 nothing is known, and nothing is compared.
        slopes: weight of the differences; both cells must be known.
    """
    known = measured > 0
    error = torch.where(known, depths - measured, 0.0)
    loss = _mean(error, known)
    for across in (2, 3):
        size = error.shape[across] - 1
        first, second = (known.narrow(across, start, size) for start in (0, 1))
        both = first & second
        loss = loss + slopes * _mean(torch.where(both, error.diff(dim=across), 0.0), both)
    return loss


def _mean(errors: Tensor, known: Tensor) -> Tensor:
    """[S] mean size of [S, ...] errors over the known ones; 0 of none."""
    return errors.abs().flatten(1).sum(1) / known.flatten(1).sum(1).clamp(min=1)
