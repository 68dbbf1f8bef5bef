"""Depth loss: errors of the depth of token cells, and of its slopes, wherever depth is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import softplus

from threedrs_components.objectives.objective import Objective, StudentPass, TeacherFeatures
from threedrs_components.objectives.token_head import TokenHead
from threedrs_components.scenes.prepared import PreparedScene, scene_geometry
from threedrs_components.teachers.map_choices import DEPTH_AND_WEIGHT
from threedrs_components.teachers.maps import TeacherMap, TeacherMaps, stacked
from threedrs_platform.errors import DataError
from threedrs_platform.store.features import FeatureFolder

if TYPE_CHECKING:
    from threedrs_components.objectives.depth import DepthConfig

SMALLEST = 1e-6
"""Mean depth below which nothing is divided by it."""


class Depth(Objective):
    """Sum over scenes of the loss over their known cells."""

    settings: DepthConfig

    def __init__(self, settings: DepthConfig, width: int) -> None:
        super().__init__(settings)
        self.head = TokenHead(width, settings.head_width, 1)

    def read(self, student_pass: StudentPass) -> Tensor:
        """[S, F, P, P] the head's depth; always positive."""
        states = student_pass.output.hidden[self.settings.layer]
        # Of even slope far away, where an exponential would explode.
        return softplus(self.head(states)[..., 0])


class SensorDepth(Depth):
    """In metres, against what the sensor has measured."""

    def target(self, scene: PreparedScene) -> Tensor:
        """[F, P, P] float32 metres; 0 where no pixel of a cell has depth."""
        return scene_geometry(scene).depths

    def collate(self, targets: Sequence[Tensor]) -> Tensor:
        """[S, F, P, P]."""
        return torch.stack(list(targets))

    def forward(self, student_pass: StudentPass, whole: int) -> tuple[Tensor, dict[str, float]]:
        """The batch's share of the step's loss."""
        depths = self.read(student_pass)
        measured = student_pass.target.to(depths.device)
        known = (measured > 0).to(depths.dtype)
        return depth_loss(depths, measured, known, slopes=self.settings.slopes).sum() / whole, {}


class TeacherDepth(Depth):
    """In units of the scene's mean depth, against what a teacher makes of the same frames."""

    def __init__(self, settings: DepthConfig, width: int, teacher: TeacherFeatures) -> None:
        """Raises DataError if the teacher's depth does not fit the scenes."""
        super().__init__(settings, width)
        assert teacher.depth is not None, "whoever reads a teacher's depth is given it"
        self._maps = TeacherMaps(FeatureFolder(teacher.depth), control=settings.control)
        header = self._maps.check(teacher.scenes, teacher.scene_ids)
        if header.output != DEPTH_AND_WEIGHT:
            raise DataError(
                f"{teacher.depth}: features of teacher {header.teacher} ({header.output}), no depth"
            )

    def target(self, scene: PreparedScene) -> TeacherMap:
        """[F, P, P, 2] depth and weight, as stored."""
        return self._maps.of(scene)

    def collate(self, targets: Sequence[TeacherMap]) -> Tensor:
        """[S, F, P, P, 2] float32."""
        return stacked(targets).float()

    def forward(self, student_pass: StudentPass, whole: int) -> tuple[Tensor, dict[str, float]]:
        """The batch's share of the step's loss."""
        depths = self.read(student_pass)
        taught, weights = student_pass.target.to(depths.device).unbind(-1)
        weights = weights if self.settings.confidence else torch.ones_like(weights)
        losses = proportion_loss(depths, taught, weights, slopes=self.settings.slopes)
        return losses.sum() / whole, {}


def proportion_loss(depths: Tensor, taught: Tensor, weights: Tensor, *, slopes: float) -> Tensor:
    """[S] the depth loss of depths that are each divided by their mean over the scene.

    No factor per scene in either makes a difference: the teacher's is arbitrary, and a student that
    reads frame after frame cannot know in the first one how far things in the last will be.

    Args:
        depths: [S, F, P, P] float32 above 0, of the student; its gradient passes the mean, too.
        taught: [S, F, P, P] above 0, of the teacher.
        weights: [S, F, P, P] of cells, 0 or more, in all means.
        slopes: weight of the differences.
    """
    student, teacher = (each / _scene_mean(each, weights) for each in (depths, taught))
    return depth_loss(student, teacher, weights, slopes=slopes)


def depth_loss(depths: Tensor, truth: Tensor, weights: Tensor, *, slopes: float) -> Tensor:
    """[S] mean absolute error, plus `slopes` times that of differences down and across a frame.

    Args:
        depths: [S, F, P, P] float32.
        truth: [S, F, P, P] in the same unit.
        weights: [S, F, P, P] of cells in the means, 0 where nothing is known.
        slopes: weight of the differences; each has the smaller weight of its two cells.
    """
    error = torch.where(weights > 0, depths - truth, 0.0)
    loss = _mean(error, weights)
    for across in (2, 3):
        size = error.shape[across] - 1
        both = torch.minimum(*(weights.narrow(across, start, size) for start in (0, 1)))
        loss = loss + slopes * _mean(torch.where(both > 0, error.diff(dim=across), 0.0), both)
    return loss


def _scene_mean(depths: Tensor, weights: Tensor) -> Tensor:
    """[S, 1, 1, 1] weighted mean of [S, F, P, P]."""
    mean = _mean(depths, weights).clamp(min=SMALLEST)
    return mean[:, None, None, None]


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """[S] weighted mean size of [S, ...] values; 0 where no weight is above 0."""
    whole = weights.flatten(1).sum(1)
    return (values.abs() * weights).flatten(1).sum(1) / torch.where(whole > 0, whole, 1.0)
