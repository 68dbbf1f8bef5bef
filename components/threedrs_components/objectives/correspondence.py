"""Configuration of the correspondence objective: one place looks alike from every view."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from threedrs_components.objectives.settings import ObjectiveSettings, Per
from threedrs_components.scenes.prepare_config import Level
from threedrs_components.students.places import Place

if TYPE_CHECKING:
    from threedrs_components.objectives.objective import Objective, TeacherFeatures
    from threedrs_components.students.student import Student


class CorrespondenceConfig(ObjectiveSettings):
    """Pull features of one voxel together across views, push those of different voxels apart."""

    negative_weight: float = Field(default=1.0, ge=0)
    """Weight of the negative pairs relative to the positive ones; the paper's equation has 1."""
    level: Level = "pixel"
    """pixel: every pixel with valid depth counts, with the feature of its token, as the paper says.
    token: a token lies in the voxel of its mean coordinate, as released; few tokens then meet."""
    voxel_m: float = Field(default=0.1, gt=0)
    """Side in metres of the voxels in which different views see the same place; the paper's is
    0.1."""
    layer: Place = -1
    """Hidden states that it acts on: -1 is the last; `tower` and `projector` are what comes before
    the language model."""

    name: ClassVar[str] = "correspondence"
    per: ClassVar[Per] = "scene"
    reads_geometry: ClassVar[bool] = True

    @property
    def visual_layers(self) -> tuple[Place, ...]:
        """The one place."""
        return (self.layer,)

    def build(self, student: Student, teacher: TeacherFeatures | None = None) -> Objective:
        """The loss; it has no weights of its own."""
        from threedrs_components.objectives.correspondence_loss import Correspondence

        return Correspondence(self)
