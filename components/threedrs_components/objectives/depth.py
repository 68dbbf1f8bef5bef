"""Configuration of the depth objective: states of visual tokens tell how far their cells are."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, PositiveInt

from threedrs_components.objectives.settings import ObjectiveSettings, Per
from threedrs_components.students.places import Place

if TYPE_CHECKING:
    from threedrs_components.objectives.objective import Objective, TeacherFeatures
    from threedrs_components.students.student import Student


class DepthConfig(ObjectiveSettings):
    """Absolute error of a small head's depth, in metres, against the sensor's.

    SpatioLM's depth loss at the token grid, with measured depth in place of a teacher's, and so
    without the weights of a teacher's confidence.
    """

    layer: Place = -1
    """Place whose states the head reads."""
    head_width: PositiveInt = 256
    """Hidden width of the head."""
    slopes: float = Field(default=1.0, ge=0)
    """Weight of the error in differences between neighbouring cells, beside the error in depth."""

    name: ClassVar[str] = "depth"
    per: ClassVar[Per] = "scene"
    reads_geometry: ClassVar[bool] = True

    @property
    def visual_layers(self) -> tuple[Place, ...]:
        """The one place."""
        return (self.layer,)

    def build(self, student: Student, teacher: TeacherFeatures | None = None) -> Objective:
        """The loss with its head."""
        from threedrs_components.objectives.depth_loss import Depth

        return Depth(self, student.width_at(self.layer))
