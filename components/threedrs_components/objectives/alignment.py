"""Distillation: student features, through a small MLP, towards the teacher's of the same cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, gelu

from threedrs_components.objectives.config import AlignmentConfig

RELEASED_DEVIATION = 0.02
SMALLEST_DEVIATION = 1e-6
"""A teacher dimension that varies less is constant: it is centred, not blown up."""


def alignment_loss(
    student: Tensor, teacher: Tensor, loss: Literal["cosine", "euclidean"] = "cosine"
) -> Tensor:
    """Mean distance of directions over tokens, in float32; 0 is perfect.

    The paper's equation is mean(-cos); adding the constant 1 moves no gradient. The squared
    distance of unit vectors is 2 - 2 cos, so "euclidean" is "cosine" at twice the weight.

    Args:
        student: [N, D] projected student features.
        teacher: [N, D] targets; never receive a gradient.
        loss: which distance.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"student features {tuple(student.shape)} and teacher features "
            f"{tuple(teacher.shape)} must have one shape: same tokens, same width"
        )
    cosine = cosine_similarity(student.float(), teacher.detach().float(), dim=-1)
    distance = (1 - cosine).mean()
    return distance if loss == "cosine" else 2 * distance


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
        student_width: int,
        teacher_width: int,
        statistics: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """Build the projectors; `statistics` are the teacher's mean and deviation, each [D]."""
        super().__init__()
        self.config = config
        hidden = config.projector_width or 2 * student_width
        self.projectors = nn.ModuleList(
            Projector(student_width, hidden, teacher_width, config.initialisation)
            for _ in config.layers
        )
        if config.standardise and statistics is None:
            raise ValueError("standardise is on: the teacher's mean and deviation must be given")
        mean, deviation = statistics or (torch.zeros(teacher_width), torch.ones(teacher_width))
        self.register_buffer("mean", mean.float())
        self.register_buffer(
            "deviation", torch.where(deviation > SMALLEST_DEVIATION, deviation, 1.0).float()
        )

    def forward(self, hidden: Sequence[Tensor], teacher: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Mean loss over the aligned layers, and each layer's loss for logging.

        Args:
            hidden: one [..., C] per entry of config.layers, in that order.
            teacher: [..., D] features of the same tokens.
        """
        if len(hidden) != len(self.projectors):
            raise ValueError(
                f"{len(hidden)} hidden states given, but layers are {self.config.layers}"
            )
        targets = self.targets(teacher)
        losses = [
            alignment_loss(project(states), targets, self.config.loss)
            for project, states in zip(self.projectors, hidden, strict=True)
        ]
        parts = {
            f"alignment/layer{layer}": loss.item()
            for layer, loss in zip(self.config.layers, losses, strict=True)
        }
        return torch.stack(losses).mean(), parts

    def targets(self, teacher: Tensor) -> Tensor:
        """Teacher features in float32, standardised if the configuration says so."""
        values = teacher.detach().float()
        if not self.config.standardise:
            return values
        return (values - self.mean) / self.deviation
