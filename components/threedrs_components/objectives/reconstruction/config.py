"""Configuration of the reconstruction objective. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from threedrs_components.objectives.reconstruction.cells import BIRDS_EYE, SIDE, VALUES
from threedrs_components.objectives.settings import ObjectiveSettings, Per
from threedrs_platform.config import LATER

if TYPE_CHECKING:
    from threedrs_components.objectives.objective import Objective, TeacherFeatures
    from threedrs_components.students.student import Student


class ReconstructionConfig(ObjectiveSettings):
    """Hide some frames from the student, and tell their pixels from its states (after Ross3D).

    In steps that hide frames the losses of tasks are computed behind the same prefix, as in Ross3D:
    their questions are then answered with fewer frames. Losses of other objectives ask for hidden
    frames as for those that are seen, and with fusion the features of a teacher of many frames know
    something of hidden ones. Held-out scenes and evaluation are always shown whole. With birds_eye
    a picture of the room from above is told as well, in every step. Facts: design/rivals.md,
    section 2.
    """

    ratio: float = Field(default=0.25, gt=0, lt=1)
    """Share of a scene's frames that is hidden, drawn anew each time; at least one is hidden, and
    at least one is not. All their tokens become one learned vector; where they are is still told,
    if the student has position_encoding."""
    every: NonNegativeInt = 4
    """Hide frames in every n-th step, the first one included; 0 hides none, so that only the
    bird's-eye view is told. In the others nothing of frames is told, and the loss of it is 0: its
    curve is a mean over all steps."""
    condition: Literal["own", "pooled"] = "own"
    """What the pixels of a hidden frame are told from. own: its own states, token by token; the
    language model has read only frames before it. pooled, as released: the states of all frames
    that are not hidden, by learned queries: one and the same for all hidden frames of a scene."""
    decoder: Literal["denoiser", "regression"] = "denoiser"
    """denoiser: tell the pixels behind noisy ones, by a transformer over the cells of a frame that
    time and condition modulate. (The released one works on latents of a VAE and tells the noise;
    192 values of noise do not fit through a decoder of width 128, pixels do.) regression: tell them
    from their cell's condition alone by a small MLP: what cannot be known comes out as a blur."""
    layer: int = -1
    """The hidden states; -1 is the last, after the final norm."""
    width: PositiveInt | None = None
    """Of the decoder; None is the student's width. Released: 1024."""
    blocks: PositiveInt = 3
    """Of the denoiser."""
    heads: PositiveInt = 4
    """Of the denoiser and of the pooled condition. Released: 16."""
    draws: PositiveInt = 4
    """Noise levels that each hidden frame is told at in one step."""
    control: Literal["none", "shuffled_frames"] = "none"
    """shuffled_frames: the pixels of another frame of the scene, drawn anew: as much to compute,
    and no frame's own content to learn. Of the bird's-eye view its cells in an order drawn anew:
    its colours, but not what lies where."""
    birds_eye: Annotated[PositiveInt | None, LATER] = None
    """Tell a picture of the room from above, too, in so many rows and columns of cells of 8 x 8
    pixels: from the states of all frames that are seen, by learned queries of its own, in every
    step, with the decoder that tells frames, and only where something was seen. Released: 27. It
    needs prepare.birds_eye. None tells frames alone."""

    name: ClassVar[str] = "reconstruction"
    per: ClassVar[Per] = "scene"

    @model_validator(mode="after")
    def _something_is_told(self) -> Self:
        if self.every == 0 and self.birds_eye is None:
            raise ValueError("every: 0 hides no frame, so birds_eye must be set, e.g. to 27")
        return self

    @property
    def picture_side(self) -> int:
        """That of the bird's-eye view."""
        return 0 if self.birds_eye is None else self.birds_eye * SIDE

    @property
    def parts(self) -> tuple[str, ...]:
        """The loss of the bird's-eye view by itself, too, where there is one."""
        return super().parts if self.birds_eye is None else (*super().parts, BIRDS_EYE)

    @property
    def visual_layers(self) -> tuple[int, ...]:
        """The one layer."""
        return (self.layer,)

    def parameters(self, student_width: int, cells: int) -> int:
        """Weights of the decoder and of what stands for hidden tokens.

        Args:
            student_width: of the hidden states.
            cells: tokens of a frame.
        """
        width, values = self.width or student_width, VALUES
        square = width * (width + 1)
        own = student_width + (student_width + 1) * width
        above = 0 if self.birds_eye is None else self.birds_eye**2
        asking = cells * width + 4 * square if self.condition == "pooled" else 0
        asking += above * width + 4 * square if above else 0
        if self.decoder == "regression":
            return own + asking + square + (width + 1) * values
        block = 4 * square + (4 * width + 1) * width + (width + 1) * 4 * width + 6 * square
        ends = (values + 1) * width + (cells + above) * width + (width + 1) * values
        return own + asking + ends + 4 * square + self.blocks * block

    def build(self, student: Student, teacher: TeacherFeatures | None = None) -> Objective:
        """The loss with its decoder.

        Raises:
            ConfigError: the heads do not divide the decoder's width.
        """
        from threedrs_components.objectives.reconstruction.objective import Reconstruction

        return Reconstruction(self, student)
