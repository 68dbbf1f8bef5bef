"""Projection of student features by a small MLP, and its distance from the teacher's features."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from threedrs_platform.config.kinds import load_modules

if TYPE_CHECKING:
    from threedrs_components.objectives.alignment.config import AlignmentConfig

Distance = Callable[[Tensor, Tensor], Tensor]
RELEASED_DEVIATION = 0.02
SMALLEST_DEVIATION = 1e-6
"""A teacher dimension that varies less is constant: it is centred, not blown up."""


def distances(modules: Sequence[str]) -> list[Distance]:
    """The functions that modules of `losses` hold."""
    # By name: a training imports its own losses and no other, and its key is told which.
    return [module.distance for module in load_modules(modules)]


def alignment_loss(student: Tensor, teacher: Tensor, distances: Sequence[Distance]) -> Tensor:
    """Sum of distances of directions, in float32; 0 is perfect.

    Args:
        student: [..., N, D] projected student features, N tokens of each scene.
        teacher: [..., N, D] targets; never receive a gradient.
        distances: those that are added up.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"student features {tuple(student.shape)} and teacher features "
            f"{tuple(teacher.shape)} must have one shape: same tokens, same width"
        )
    own, target = student.float(), teacher.detach().float()
    return torch.stack([distance(own, target) for distance in distances]).sum()


class Projector(nn.Module):
    """Linear, GELU, Linear: the paper's MLP_align for one layer."""

    def __init__(
        self, width: int, hidden: int, out: int, initialisation: Literal["normal", "fan_in"]
    ) -> None:
        super().__init__()
        self.widen = nn.Linear(width, hidden)
        self.project = nn.Linear(hidden, out)
        for linear in (self.widen, self.project):
            fan_in = 1 / math.sqrt(linear.in_features)
            deviation = RELEASED_DEVIATION if initialisation == "normal" else fan_in
            nn.init.normal_(linear.weight, std=deviation)
            nn.init.zeros_(linear.bias)

    def forward(self, states: Tensor) -> Tensor:
        """[..., C] hidden states to [..., D], in the type of the weights."""
        projected: Tensor = self.project(gelu(self.widen(states.to(self.widen.weight.dtype))))
        return projected


class AlignmentHead(nn.Module):
    """One two-layer MLP per aligned layer, and the statistics that standardise the targets."""

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        config: AlignmentConfig,
        student_widths: Sequence[int],
        teacher_width: int,
        statistics: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """Build the projectors.

        Args:
            config: which places are aligned, and how.
            student_widths: one per place.
            teacher_width: D.
            statistics: the teacher's mean and deviation, each [D].
        """
        super().__init__()
        self.config = config
        self.distances = distances(config.modules())
        self.projectors = nn.ModuleList(
            Projector(
                width, config.projector_width or 2 * width, teacher_width, config.initialisation
            )
            for width in student_widths
        )
        if config.standardise and statistics is None:
            raise ValueError("standardise is on: the teacher's mean and deviation must be given")
        mean, deviation = statistics or (torch.zeros(teacher_width), torch.ones(teacher_width))
        self.register_buffer("mean", mean.float())
        self.register_buffer(
            "deviation", torch.where(deviation > SMALLEST_DEVIATION, deviation, 1.0).float()
        )

    def forward(self, hidden: Sequence[Tensor], teacher: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Mean (or sum) of the aligned layers' losses, and each layer's loss for logging.

        Args:
            hidden: one [S, ..., C] per entry of config.layers, in that order.
            teacher: [S, ..., D] features of the same tokens of S scenes.
        """
        if len(hidden) != len(self.projectors):
            raise ValueError(
                f"{len(hidden)} hidden states given, but layers are {self.config.layers}"
            )
        targets = self.targets(teacher)
        scenes = targets.shape[0]
        losses = [
            alignment_loss(
                project(states).view(scenes, -1, targets.shape[-1]),
                targets.view(scenes, -1, targets.shape[-1]),
                self.distances,
            )
            for project, states in zip(self.projectors, hidden, strict=True)
        ]
        parts = dict(zip(self.config.layer_parts, (loss.item() for loss in losses), strict=True))
        together = torch.stack(losses)
        return together.sum() if self.config.layer_losses == "sum" else together.mean(), parts

    def targets(self, teacher: Tensor) -> Tensor:
        """Teacher features in float32, standardised if the configuration says so."""
        values = teacher.detach().float()
        if not self.config.standardise:
            return values
        return (values - self.mean) / self.deviation
