"""FLARE as a teacher: what one may choose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import NonNegativeInt, field_validator

from threedrs_components.teachers.flare.sizes import (
    COLUMNS,
    DECODER_DEPTH,
    ENCODER_DEPTH,
    PATCH,
    ROWS,
)
from threedrs_components.teachers.frame_shapes import SQUARE, Shape
from threedrs_components.teachers.settings import FrameTeacherConfig, Framing
from threedrs_platform.config import PLACE, REPORTED
from threedrs_platform.errors import CheckpointError

if TYPE_CHECKING:
    from threedrs_components.teachers.flare.teacher import FLARETeacher


class FLAREConfig(FrameTeacherConfig):
    """FLARE: frames in, features of its pose-conditioned geometry decoders out."""

    weight_files: ClassVar[tuple[str, ...]] = ("geometry_pose.pth", "model.safetensors")
    weights: ClassVar[str] = "geometry_pose.pth of AntResearch/FLARE (non-commercial)"

    kind: Literal["flare"] = "flare"
    sees: Annotated[Literal["3d"], REPORTED] = "3d"
    checkpoint: Annotated[str, PLACE]
    """The .pth file, or the same tensors as .safetensors."""
    stage: Literal["1", "2", "3", "1+3"] = "3"
    """1: the encoder, frame by frame; 2: camera-centric decoder over all frames; 3: the global
    geometry decoder, which the point head reads; 1+3: both side by side."""
    framing: Framing = "aspect"
    frames_per_pass: NonNegativeInt = 0
    """Frames that attend to each other, the first frame among them; 0 is all of them. The
    released model was trained on 2 to 8."""
    licence: str = "CC BY-NC-SA 4.0"

    @field_validator("frames_per_pass")
    @classmethod
    def _a_pair_at_least(cls, number: int) -> int:
        if number == 1:
            raise ValueError("1 frame has nothing to attend to; use 2 or more, or 0 for all")
        return number

    def check_layer(self) -> None:
        """Refuse a layer that the stage does not have.

        Raises:
            CheckpointError: names those that it has.
        """
        depth, is_pair = ENCODER_DEPTH if self.stage == "1" else DECODER_DEPTH, self.stage == "1+3"
        if not -1 <= self.layer < depth or (self.layer >= 0 and is_pair):
            choices = "-1" if is_pair else f"0..{depth - 1} or -1"
            raise CheckpointError(
                f"teacher flare, stage {self.stage}: layer {self.layer} is none of {choices}"
            )

    def refuse_weights(self) -> None:
        """Their depths are the same in all of them; what .pth files hold, no header tells."""
        self.check_layer()

    def own_grid(self, frame: Shape = SQUARE) -> int | None:
        """In patches of the released size."""
        return self.finest(frame, COLUMNS * PATCH, PATCH, ROWS * PATCH)

    def build(self, device: str = "cpu") -> FLARETeacher:
        """Load the teacher's weights.

        Raises:
            CheckpointError: the checkpoint is missing or does not fit.
        """
        from threedrs_components.teachers.flare.teacher import FLARETeacher

        return FLARETeacher.load(self, device)
