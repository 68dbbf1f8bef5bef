"""Configuration of the depth objective: states of visual tokens tell how far their cells are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, PositiveInt, ValidationInfo, field_validator

from threedrs_components.objectives.settings import ObjectiveSettings, Per
from threedrs_components.students.places import Place
from threedrs_components.teachers.map_choices import Control
from threedrs_platform.config import LATER

if TYPE_CHECKING:
    from threedrs_components.objectives.objective import Objective, TeacherFeatures
    from threedrs_components.students.student import Student


class DepthConfig(ObjectiveSettings):
    """Absolute error of a small head's depth: SpatioLM's depth loss at the token grid.

    Against the sensor's it is in metres. A teacher's depth is known up to one factor per scene, so
    it is compared with both divided by their mean over the scene: the student learns how far cells
    are in proportion, and no metres.
    """

    layer: Place = -1
    """Place whose states the head reads."""
    head_width: PositiveInt = 256
    """Hidden width of the head."""
    slopes: float = Field(default=1.0, ge=0)
    """Weight of the error in differences between neighbouring cells, beside the error in depth."""
    source: Annotated[Literal["sensor", "teacher"], LATER] = "sensor"
    """Whose depth is the truth. SpatioLM takes the teacher's; vggt, da3 and pi3 give one."""
    confidence: Annotated[bool, LATER] = False
    """Weight cells by the teacher's confidence in them: its logarithm, as SpatioLM, or of pi3 its
    probability. A difference counts as much as the less certain of its two cells."""
    control: Annotated[Control, LATER] = "none"
    """other_scene: the teacher's depth of another scene, always the same one: no content."""

    name: ClassVar[str] = "depth"
    per: ClassVar[Per] = "scene"

    @field_validator("confidence", "control")
    @classmethod
    def _of_a_teacher(cls, chosen: bool | Control, info: ValidationInfo) -> bool | Control:
        if chosen not in (False, "none") and info.data.get("source") == "sensor":
            raise ValueError(
                f"{chosen}: the sensor's depth has no {info.field_name}; set source: teacher, or "
                "leave it out"
            )
        return chosen

    @property
    def reads_teacher(self) -> bool:
        """A teacher takes part where the depth is its own."""
        return self.source == "teacher"

    @property
    def reads_teacher_features(self) -> bool:
        """No features are read, whoever's depth it is."""
        return False

    @property
    def reads_teacher_depth(self) -> bool:
        """A teacher's depth is stored beforehand, as its features are."""
        return self.source == "teacher"

    @property
    def compares_frames(self) -> bool:
        """A teacher's depth is compared cell by cell, so it must have seen the student's frames."""
        return self.source == "teacher"

    @property
    def reads_geometry(self) -> bool:
        """The sensor's depth is part of a scene's geometry; with a teacher's no scene needs any."""
        return self.source == "sensor"

    @property
    def needs_other_scene(self) -> bool:
        """With the control."""
        return self.control == "other_scene"

    @property
    def visual_layers(self) -> tuple[Place, ...]:
        """The head reads the states of one place."""
        return (self.layer,)

    def build(self, student: Student, teacher: TeacherFeatures | None = None) -> Objective:
        """Make the loss and its head, against the depth of the sensor or of the teacher.

        Raises:
            DataError: the teacher's depth does not fit the scenes.
        """
        from threedrs_components.objectives.depth_loss import SensorDepth, TeacherDepth

        width = student.width_at(self.layer)
        if self.source == "sensor":
            return SensorDepth(self, width)
        assert teacher is not None, "an objective that reads a teacher is given one"
        return TeacherDepth(self, width, teacher)
