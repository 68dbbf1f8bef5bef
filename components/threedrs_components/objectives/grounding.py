"""Configuration of the grounding objective: the right candidates among a scene's objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from threedrs_components.objectives.settings import ObjectiveSettings, Per, Share

if TYPE_CHECKING:
    from threedrs_components.objectives.objective import Objective, TeacherFeatures
    from threedrs_components.students.student import Student


class GroundingConfig(ObjectiveSettings):
    """Contrastive choice among candidate objects."""

    weight: float = Field(default=1.0, ge=0)
    """Factor of this loss in the sum; 0 switches it off."""
    temperature: float = Field(default=0.07, gt=0)
    """What the cosines of description and candidates are divided by before their softmax."""

    name: ClassVar[str] = "grounding"
    per: ClassVar[Per] = "question"
    has_student_head: ClassVar[bool] = True
    shares: ClassVar[tuple[Share, ...]] = (
        Share("accuracy", right="grounding/correct", asked="grounding/asked"),
    )

    def build(self, student: Student, teacher: TeacherFeatures | None = None) -> Objective:
        """The loss; the head that scores candidates belongs to the student."""
        from threedrs_components.objectives.grounding_loss import Grounding

        return Grounding(self)
