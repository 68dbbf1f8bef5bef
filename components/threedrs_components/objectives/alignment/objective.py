"""Alignment in training: whose features are compared with what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from threedrs_components.objectives.alignment.head import AlignmentHead
from threedrs_components.objectives.objective import Objective, StudentPass, TeacherFeatures
from threedrs_components.objectives.teacher_maps import checked_features
from threedrs_components.scenes.prepared import PreparedScene
from threedrs_components.teachers.maps import TeacherMap, TeacherMaps, stacked
from threedrs_platform.store.features import FeatureFolder, statistics_of

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
        """[S, F, P, P, D] as stored: the head widens them, on its device."""
        return stacked(targets)

    def forward(self, student_pass: StudentPass, whole: int) -> tuple[Tensor, dict[str, float]]:
        """The loss, and that of each layer."""
        student, hidden = student_pass.student, student_pass.output.hidden
        states = [hidden[layer] for layer in self.settings.layers]
        if self.settings.inner_states == "normalised":
            states = [
                student.normalised(each) if student.is_inner(layer) else each
                for layer, each in zip(self.settings.layers, states, strict=True)
            ]
        teacher: Tensor = student_pass.target.to(states[0].device)
        loss, layers = self.head(states, teacher)
        share = len(teacher) / whole
        return loss * share, {name: value * share for name, value in layers.items()}


def build_alignment(
    settings: AlignmentConfig, student_widths: Sequence[int], teacher: TeacherFeatures
) -> Alignment:
    """Heads as wide as a folder's features, which know their statistics if they standardise.

    Args:
        settings: of the alignment.
        student_widths: of the aligned places, one each.
        teacher: its features of the scenes to train on.

    Raises:
        DataError: the features of some scene do not fit it, or come from another extraction.
    """
    features = checked_features(teacher, settings.frames, settings.control)
    scene_ids = teacher.scene_ids
    statistics = None
    if settings.standardise:
        found = statistics_of(features, scene_ids)
        statistics = torch.from_numpy(found.mean).float(), torch.from_numpy(found.std).float()
    width = features[scene_ids[0]].features.shape[-1]
    head = AlignmentHead(settings, student_widths, width, statistics)
    return Alignment(settings, head, features)
