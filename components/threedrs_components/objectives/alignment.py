"""Distillation: student features, through a small MLP, towards the teacher's of the same cell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, gelu, normalize
from torch.utils.checkpoint import checkpoint

from threedrs_components.objectives.config import AlignmentConfig, AlignmentLoss

RELEASED_DEVIATION = 0.02
SMALLEST_DEVIATION = 1e-6
"""A teacher dimension that varies less is constant: it is centred, not blown up."""
GRAM_ROWS = 1024
"""Rows of a Gram matrix that exist at a time; bounds memory and moves a loss by rounding only."""


def alignment_loss(student: Tensor, teacher: Tensor, loss: AlignmentLoss = "cosine") -> Tensor:
    """Mean distance of directions over tokens, in float32; 0 is perfect.

    The paper's equation is mean(-cos); adding the constant 1 moves no gradient. The squared
    distance of unit vectors is 2 - 2 cos, so "euclidean" is "cosine" at twice the weight.

    Args:
        student: [..., N, D] projected student features, N tokens of each scene.
        teacher: [..., N, D] targets; never receive a gradient.
        loss: which distance, or a sum of several.
    """
    if student.shape != teacher.shape:
        raise ValueError(
            f"student features {tuple(student.shape)} and teacher features "
            f"{tuple(teacher.shape)} must have one shape: same tokens, same width"
        )
    own, target = student.float(), teacher.detach().float()
    terms = loss.split("+")
    times = terms.count("cosine") + 2 * terms.count("euclidean")
    total = own.new_zeros(())
    if times:
        total = total + times * (1 - cosine_similarity(own, target, dim=-1)).mean()
    return total + gram_distance(own, target) if "gram" in terms else total


def gram_distance(student: Tensor, teacher: Tensor) -> Tensor:
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
            part = checkpoint(_gram_rows, own, target, rows, use_reentrant=False)
            assert isinstance(part, Tensor)
            total = total + part
    return total / (student[..., 0].numel() * student.shape[-2])


def _gram_rows(student: Tensor, teacher: Tensor, rows: Tensor) -> Tensor:
    with torch.autocast(student.device.type, enabled=False):
        return (student[rows] @ student.T - teacher[rows] @ teacher.T).abs().sum()


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

    @property
    def part_names(self) -> tuple[str, ...]:
        """What each layer's loss is called."""
        return tuple(f"alignment/layer{layer}" for layer in self.config.layers)

    def forward(self, hidden: Sequence[Tensor], teacher: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Mean loss over the aligned layers, and each layer's loss for logging.

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
                self.config.loss,
            )
            for project, states in zip(self.projectors, hidden, strict=True)
        ]
        parts = dict(zip(self.part_names, (loss.item() for loss in losses), strict=True))
        return torch.stack(losses).mean(), parts

    def targets(self, teacher: Tensor) -> Tensor:
        """Teacher features in float32, standardised if the configuration says so."""
        values = teacher.detach().float()
        if not self.config.standardise:
            return values
        return (values - self.mean) / self.deviation
