"""Pretraining of a micro VGGT: what one may choose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from threedrs_components.pretraining.teacher_config import TeacherPretraining
from threedrs_components.teachers.vggt.architecture import VGGTArchitecture

if TYPE_CHECKING:
    from threedrs_components.pretraining.teacher_world import TeacherWorld
    from threedrs_components.pretraining.vggt.pretraining import VGGTPretraining


class VGGTPretrainingConfig(TeacherPretraining):
    """Learns depth, points and cameras."""

    kind: Literal["vggt"] = "vggt"
    architecture: VGGTArchitecture = VGGTArchitecture()

    @property
    def image_size(self) -> int:
        """The model's own."""
        return self.architecture.image_size

    @property
    def target_cells(self) -> int:
        """As fine as the cell head predicts."""
        shape = self.architecture
        return shape.image_size // shape.patch_size * shape.cells_per_patch

    def build(self, world: TeacherWorld) -> VGGTPretraining:
        """Make the model with random weights, and its loss."""
        from threedrs_components.pretraining.vggt.pretraining import VGGTPretraining

        return VGGTPretraining(self.architecture, world)
