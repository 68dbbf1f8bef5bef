"""Pretraining of a micro MAE: what one may choose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from threedrs_components.pretraining.teacher_config import TeacherPretraining
from threedrs_components.teachers.mae.architecture import MAEArchitecture

if TYPE_CHECKING:
    from threedrs_components.pretraining.mae.pretraining import MAEPretraining
    from threedrs_components.pretraining.teacher_world import TeacherWorld


class MAEPretrainingConfig(TeacherPretraining):
    """Learns to paint hidden patches."""

    kind: Literal["mae"] = "mae"
    architecture: MAEArchitecture = MAEArchitecture()

    @property
    def image_size(self) -> int:
        """The model's own."""
        return self.architecture.image_size

    def build(self, world: TeacherWorld) -> MAEPretraining:
        """Make the model with random weights, and its loss."""
        from threedrs_components.pretraining.mae.pretraining import MAEPretraining

        return MAEPretraining(self.architecture, world)
