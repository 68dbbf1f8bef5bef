"""Alignment in training: whose features are compared with what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from threedrs_components.objectives.alignment.head import AlignmentHead
from threedrs_components.objectives.objective import Objective, StudentPass, TeacherFeatures
from threedrs_components.scenes.prepared import PreparedScene
from threedrs_components.teachers.maps import TeacherMap, TeacherMaps
from threedrs_platform.store.features import FeatureFolder, check_one_extraction, statistics_of

if TYPE_CHECKING:
    from threedrs_components.objectives.alignment.config import AlignmentConfig


class Alignment(Objective):
    """Mean over scenes of the distance of projected hidden states from a teacher's features."""

    settings: AlignmentConfig

    def __init__(
        self, settings: AlignmentConfig, head: AlignmentHead, features: FeatureFolder
    ) -> None:
        super().__init__(settings)
        self.head = head
        self._maps = TeacherMaps(features, settings.frames, settings.control)

    def target(self, scene: PreparedScene) -> TeacherMap:
        """The teacher's features of the scene, as stored."""
        return self._maps.of(scene)

    def collate(self, targets: Sequence[TeacherMap]) -> Tensor:
        """[S, F, P, P, D] float32."""
        return torch.from_numpy(np.stack(targets).astype(np.float32))

    def forward(self, student_pass: StudentPass, whole: int) -> tuple[Tensor, dict[str, float]]:
        """The loss, and that of each layer."""
        student, hidden = student_pass.student, student_pass.output.hidden
        states = [hidden[layer] for layer in self.settings.layers]
        if self.settings.inner_states == "normalised":
            states = [
                each if student.is_last(layer) else student.normalised(each)
                for layer, each in zip(self.settings.layers, states, strict=True)
            ]
        teacher: Tensor = student_pass.target.to(states[0].device)
        loss, layers = self.head(states, teacher)
        share = len(teacher) / whole
        return loss * share, {name: value * share for name, value in layers.items()}


def build_alignment(
    settings: AlignmentConfig, student_width: int, teacher: TeacherFeatures
) -> Alignment:
    """Heads as wide as a folder's features, which know their statistics if they standardise.

    Raises:
        DataError: the features of some scene do not fit it, or come from another extraction.
    """
    features, scene_ids = FeatureFolder(teacher.folder), teacher.scene_ids
    check_one_extraction(features, scene_ids)
    TeacherMaps(features, settings.frames, settings.control).check(teacher.scenes, scene_ids)
    statistics = None
    if settings.standardise:
        found = statistics_of(features, scene_ids)
        statistics = torch.from_numpy(found.mean).float(), torch.from_numpy(found.std).float()
    width = features[scene_ids[0]].features.shape[-1]
    return Alignment(settings, AlignmentHead(settings, student_width, width, statistics), features)
