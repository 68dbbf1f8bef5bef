"""Configuration of the reconstruction objective. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, PositiveInt

from threedrs_components.objectives.reconstruction.cells import VALUES
from threedrs_components.objectives.settings import ObjectiveSettings, Per

if TYPE_CHECKING:
    from threedrs_components.objectives.objective import Objective, TeacherFeatures
    from threedrs_components.students.student import Student


class ReconstructionConfig(ObjectiveSettings):
    """Hide some frames from the student, and tell their pixels from its states (after Ross3D).

    In steps that hide frames the losses of tasks are computed behind the same prefix, as in Ross3D:
    their questions are then answered with fewer frames. Losses of other objectives ask for hidden
    frames as for those that are seen, and with fusion the features of a teacher of many frames know
    something of hidden ones. Held-out scenes and evaluation are always shown whole. There is no
    bird's-eye view: prepared scenes know where cells of 14 x 14 lie, not pixels, and no mesh.
    Facts: design/rivals.md, section 2.
    """

    ratio: float = Field(default=0.25, gt=0, lt=1)
    """Share of a scene's frames that is hidden, drawn anew each time; at least one is hidden, and
    at least one is not. All their tokens become one learned vector; where they are is still told,
    if the student has position_encoding."""
    every: PositiveInt = 4
    """Hide frames in every n-th step, the first one included. In the others this loss is 0, and its
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
    and no frame's own content to learn."""

    name: ClassVar[str] = "reconstruction"
    per: ClassVar[Per] = "scene"

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
        pooled = cells * width + 4 * square if self.condition == "pooled" else 0
        if self.decoder == "regression":
            return own + pooled + square + (width + 1) * values
        block = 4 * square + (4 * width + 1) * width + (width + 1) * 4 * width + 6 * square
        ends = (values + 1) * width + cells * width + (width + 1) * values
        return own + pooled + ends + 4 * square + self.blocks * block

    def build(self, student: Student, teacher: TeacherFeatures | None = None) -> Objective:
        """The loss with its decoder.

        Raises:
            ConfigError: the heads do not divide the decoder's width.
        """
        from threedrs_components.objectives.reconstruction.objective import Reconstruction

        return Reconstruction(self, student)
