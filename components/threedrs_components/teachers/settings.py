"""What teachers let one choose, whatever their kind. Imports no torch."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import PositiveInt

from threedrs_platform.config import Config

if TYPE_CHECKING:
    from threedrs_components.teachers.frame_teacher import FrameTeacher
    from threedrs_components.teachers.precomputed.teacher import PrecomputedTeacher


class TeacherSettings(Config):
    """What every kind of teacher lets one choose."""

    weights: ClassVar[str]
    """Where the released weights are, for messages."""
    trainable: ClassVar[bool] = False
    """Whether `pretraining` can make weights of micro widths."""

    layer: int = -1
    """Block whose output is the feature; -1 is the last, after the final LayerNorm if any."""
    licence: str = ""
    """Terms of the weights, kept with every feature file, e.g. "CC BY-NC 4.0"."""

    @abstractmethod
    def build(self, device: str = "cpu") -> FrameTeacher | PrecomputedTeacher:
        """Load the teacher's weights.

        Raises:
            CheckpointError: no checkpoint, or one that does not fit.
        """


Framing = Literal["aspect", "squash", "crop"]
"""How a frame is brought to the model's size: "aspect" keeps its shape at the model's width and
cuts only what is then too tall (VGGT's own loader), "squash" distorts the whole frame to the
model's size (what the student does), "crop" keeps the shape and cuts the middle out."""


class FrameTeacherConfig(TeacherSettings):
    """What all teachers that read pixels let one choose."""

    framing: Framing = "squash"
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 (accelerators only) runs under autocast; the residual stream stays float32."""


class ImageEncoderConfig(FrameTeacherConfig):
    """What teachers that see one frame at a time share."""

    image_size: PositiveInt | None = None
    """Side of the square that frames are brought to; None is the checkpoint's own."""
