"""Configuration of the ray objective: states of visual tokens tell from where, and whither."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import PositiveInt

from threedrs_components.objectives.settings import ObjectiveSettings, Per
from threedrs_components.students.places import Place

if TYPE_CHECKING:
    from threedrs_components.objectives.objective import Objective, TeacherFeatures
    from threedrs_components.students.student import Student


class RayConfig(ObjectiveSettings):
    """Distance of a small head's ray map from that of the scene's cameras.

    SpatioLM's ray loss at the token grid, with known cameras in place of a teacher's, and so
    in metres and without a confidence. The world is the camera of the frame that is read first.
    """

    layer: Place = -1
    """Place whose states the head reads. Tower and projector see one frame at a time: from them
    nothing but the camera's own rays can be told."""
    head_width: PositiveInt = 256
    """Hidden width of the head."""

    name: ClassVar[str] = "ray"
    per: ClassVar[Per] = "scene"
    reads_geometry: ClassVar[bool] = True

    @property
    def visual_layers(self) -> tuple[Place, ...]:
        """The one place."""
        return (self.layer,)

    def build(self, student: Student, teacher: TeacherFeatures | None = None) -> Objective:
        """The loss with its head."""
        from threedrs_components.objectives.ray_loss import Ray

        return Ray(self, student.width_at(self.layer))
