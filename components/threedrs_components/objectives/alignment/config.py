"""Configuration of the alignment objective. Imports no torch."""

from __future__ import annotations

import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, field_validator

from threedrs_components.objectives.settings import ObjectiveSettings, Per
from threedrs_components.students.places import Place, refuse_twice
from threedrs_components.teachers.map_choices import Control, TeacherFrames
from threedrs_platform.config import LATER

if TYPE_CHECKING:
    from threedrs_components.objectives.objective import Objective, TeacherFeatures
    from threedrs_components.students.student import Student

LOSSES = f"{__package__}.losses"


class AlignmentConfig(ObjectiveSettings):
    """Distil teacher features into the student's hidden states at its visual tokens."""

    loss: str = "cosine"
    """cosine: mean(1 - cos), the paper's equation. euclidean: mean squared distance of unit
    vectors = twice that, the released code. gram: mean distance of the cosines among a scene's own
    tokens, student's from teacher's; the first release added it to the cosine. "+" adds up."""
    weight: float = Field(default=1.0, ge=0)
    """0 switches alignment off: no head is built and no teacher is read."""
    layers: tuple[Place, ...] = Field(default=(-1,), min_length=1)
    """Hidden states to align: -1 is the last, after the final norm; -k the k-th last; tower and
    projector are what comes before the language model. Each has its own head."""
    inner_states: Literal["raw", "normalised"] = "raw"
    """Layers before the last: as the next layer gets them, or after the final norm as the last one.
    Neither the paper nor its code tells; raw is assumed. Tower and projector are always raw."""
    layer_losses: Literal["mean", "sum"] = "mean"
    """What the loss is of those of several layers. Nobody tells; the mean is assumed."""
    projector_width: int | None = Field(default=None, gt=0)
    """Hidden width of the projection; None is twice the student's width, as released."""
    initialisation: Literal["normal", "fan_in"] = "normal"
    """normal: deviation 0.02 whatever the width, as released. fan_in: 1 / sqrt(inputs), which small
    widths need."""
    frames: TeacherFrames = "student"
    """Frames that the teacher sees: the student's own; or, as in the released extractor, frames
    spread over all images on disk, also those without a pose, which the student never sees. Token
    by token such features belong to other places wherever the two lists differ."""
    teacher_area: Literal["covered", "frame"] = "covered"
    """What of the teacher's map is pooled to the student's tokens: the part that the student's
    tower covers (prepare.covered), or as released the whole frame, up to .2 of a cell beside it."""
    standardise: bool = False
    """Standardise every teacher dimension with the statistics of the training scenes."""
    control: Annotated[Control, LATER] = "none"
    """other_scene: towards the teacher's maps of another scene, always the same one: targets of the
    same kind, and weights as many, but no content."""

    name: ClassVar[str] = "alignment"
    per: ClassVar[Per] = "scene"
    reads_teacher: ClassVar[bool] = True

    @field_validator("loss")
    @classmethod
    def _sum_of_known_losses(cls, loss: str) -> str:
        """Each once and in one order, so that one sum has one spelling, and one cell."""
        names, known = loss.split("+"), known_losses()
        for name in names:
            if name not in known:
                raise ValueError(f"no loss {name!r}; known: {', '.join(known)}; add up with '+'")
        if len(set(names)) < len(names):
            raise ValueError(f"{loss!r} names a loss twice; set weight instead")
        return "+".join(sorted(names))

    @property
    def needs_other_scene(self) -> bool:
        """With the control."""
        return self.control == "other_scene"

    @field_validator("layers")
    @classmethod
    def _each_once(cls, layers: tuple[Place, ...]) -> tuple[Place, ...]:
        return refuse_twice(layers)

    @property
    def visual_layers(self) -> tuple[Place, ...]:
        """The aligned ones."""
        return self.layers

    @property
    def layer_parts(self) -> tuple[str, ...]:
        """What the loss of each layer is called."""
        return tuple(f"alignment/layer{layer}" for layer in self.layers)

    @property
    def parts(self) -> tuple[str, ...]:
        """The losses of single layers, too."""
        return (*super().parts, *self.layer_parts)

    def modules(self) -> tuple[str, ...]:
        """Those of the losses that are added up, and of no other."""
        return tuple(f"{LOSSES}.{name}" for name in self.loss.split("+"))

    def build(self, student: Student, teacher: TeacherFeatures | None = None) -> Objective:
        """The loss with its heads, as wide as the teacher's features.

        Raises:
            DataError: the features do not fit the scenes.
        """
        from threedrs_components.objectives.alignment.objective import build_alignment

        assert teacher is not None, "an objective that reads a teacher is given one"
        widths = [student.width_at(place) for place in self.layers]
        return build_alignment(self, widths, teacher)


def known_losses() -> list[str]:
    """Names of the modules in the folder of losses. None is imported."""
    return sorted(
        each.name for each in pkgutil.iter_modules([str(Path(__file__).parent / "losses")])
    )
