"""Depth as what a teacher gives: extracted, pooled and stored as features are."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from threedrs_components.scenes.frames import frame_tensor
from threedrs_components.teachers.map_choices import DEPTH_AND_WEIGHT
from threedrs_components.teachers.teacher import DepthTeacher, Teacher
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.records import Scene


class DepthOf:
    """A teacher of two channels: depth along the optical axis, and how much it is to count.

    Teachers' depth is known up to one factor per scene, so it is divided by its mean over all
    pixels of the scene. Cells take plain means of both: what confidence is used for, and whether,
    is for whoever reads them to say, and depth of the sensor is pooled in the same way.
    """

    def __init__(self, teacher: DepthTeacher) -> None:
        self.teacher, self.grid = teacher, teacher.grid
        self.card = replace(teacher.card, output=DEPTH_AND_WEIGHT)

    def scene_features(self, scene: Scene) -> Tensor:
        """[F, h, w, 2] float32 of a scene's frames, the same on every call."""
        depth, weights = self.teacher.depth_maps(frame_tensor(scene.images)).unbind(-1)
        return torch.stack([depth / depth.mean(), weights], -1)

    def seen(self, height: int, width: int) -> tuple[float, float]:
        """What the teacher itself sees of a frame."""
        return self.teacher.seen(height, width)


def depth_of(teacher: Teacher) -> DepthOf:
    """Depth in the place of a teacher's features.

    Raises:
        ConfigError: the teacher gives none.
    """
    if not isinstance(teacher, DepthTeacher):
        complaint = f"teacher {teacher.card.kind} gives no depth; vggt, da3 and pi3 do"
        raise ConfigError([Fault(complaint, "teacher")])
    return DepthOf(teacher)
