"""Configuration of the Gram objective: tokens of a scene are as alike as a teacher finds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, field_validator

from threedrs_components.objectives.settings import ObjectiveSettings, Per
from threedrs_components.students.places import Place, refuse_twice

if TYPE_CHECKING:
    from threedrs_components.objectives.objective import Objective, TeacherFeatures
    from threedrs_components.students.student import Student


class GramConfig(ObjectiveSettings):
    """Mean absolute difference of the cosines among a scene's tokens, student's from teacher's.

    SpatioLM's token loss, with one teacher layer for all places of the student. Nothing is
    projected, so nothing but the student learns from it.
    """

    layers: tuple[Place, ...] = Field(default=(-1,), min_length=1)
    """Places whose states are compared; the loss is the mean over them. SpatioLM takes three inner
    layers and the last."""

    name: ClassVar[str] = "gram"
    per: ClassVar[Per] = "scene"
    reads_teacher: ClassVar[bool] = True
    compares_frames: ClassVar[bool] = True

    @field_validator("layers")
    @classmethod
    def _each_once(cls, layers: tuple[Place, ...]) -> tuple[Place, ...]:
        return refuse_twice(layers)

    @property
    def visual_layers(self) -> tuple[Place, ...]:
        """The compared ones."""
        return self.layers

    @property
    def layer_parts(self) -> tuple[str, ...]:
        """What the loss of each place is called."""
        return tuple(f"gram/layer{layer}" for layer in self.layers)

    @property
    def parts(self) -> tuple[str, ...]:
        """The losses of single places, too."""
        return (*super().parts, *self.layer_parts)

    def build(self, student: Student, teacher: TeacherFeatures | None = None) -> Objective:
        """The loss; it has no weights of its own.

        Raises:
            DataError: the features do not fit the scenes.
        """
        from threedrs_components.objectives.gram_loss import Gram
        from threedrs_components.objectives.teacher_maps import checked_features

        assert teacher is not None, "an objective that reads a teacher is given one"
        return Gram(self, checked_features(teacher))
