"""Configuration of the kinds of student, and of the micro student's 2D pretraining."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from threedrs_components.students.settings import Part, StudentSettings
from threedrs_platform.config import CONDUCT, Config

if TYPE_CHECKING:
    from threedrs_components.students.student import Student


class LlavaVideoConfig(StudentSettings):
    """LLaVA-Video: SigLIP frames, a projector, Qwen2 reading rows that end in a newline vector.

    The paper calls it LLaVA-Next-Video; real weights: lmms-lab/LLaVA-Video-7B-Qwen2.
    """

    kind: Literal["llava_video"] = "llava_video"

    def architecture(self) -> type[Student]:
        """SigLIP and Qwen2."""
        from threedrs_components.students.llava_video import LlavaVideo

        return LlavaVideo


class LlavaOneVisionStudentConfig(StudentSettings):
    """LLaVA-OneVision: the same modules; one newline vector after all frames.

    Real weights: lmms-lab/llava-onevision-qwen2-7b-ov or llava-hf/llava-onevision-qwen2-7b-ov-hf.
    """

    kind: Literal["llava_onevision"] = "llava_onevision"

    def architecture(self) -> type[Student]:
        """SigLIP and Qwen2."""
        from threedrs_components.students.llava_onevision import LlavaOneVision

        return LlavaOneVision


class Qwen2VLStudentConfig(StudentSettings):
    """Qwen2-VL with every frame as an image of its own: as a video, two frames share tokens.

    Real weights: Qwen/Qwen2-VL-7B-Instruct. The paper freezes its vision tower.
    """

    kind: Literal["qwen2_vl"] = "qwen2_vl"
    frozen: tuple[Part, ...] = ("vision",)
    """Parts that fine-tuning leaves as they are; the default is the paper's."""
    real_image_size: ClassVar[int] = 392
    real_patch_grid: ClassVar[int | None] = None

    def architecture(self) -> type[Student]:
        """Qwen's own tower and language model."""
        from threedrs_components.students.qwen2_vl import Qwen2VL

        return Qwen2VL


class Qwen25VLStudentConfig(StudentSettings):
    """Qwen2.5-VL: as Qwen2-VL, with windows of attention in its tower. Not in the paper.

    Real weights: Qwen/Qwen2.5-VL-7B-Instruct.
    """

    kind: Literal["qwen2_5_vl"] = "qwen2_5_vl"
    frozen: tuple[Part, ...] = ("vision",)
    """Parts that fine-tuning leaves as they are; the default is that of Qwen2-VL."""
    real_image_size: ClassVar[int] = 392
    real_patch_grid: ClassVar[int | None] = None

    def architecture(self) -> type[Student]:
        """Qwen's own tower and language model."""
        from threedrs_components.students.qwen2_5_vl import Qwen25VL

        return Qwen25VL


class LlavaNextVideoStudentConfig(StudentSettings):
    """LLaVA-NeXT-Video: CLIP and Vicuna. Its name is in the paper, its weights are not.

    Real weights: llava-hf/LLaVA-NeXT-Video-7B-hf.
    """

    kind: Literal["llava_next_video"] = "llava_next_video"
    real_image_size: ClassVar[int] = 336
    real_grid: ClassVar[int] = 12
    real_layers: ClassVar[int] = 32
    real_patch_grid: ClassVar[int | None] = None

    def architecture(self) -> type[Student]:
        """CLIP and Vicuna."""
        from threedrs_components.students.llava_next_video import LlavaNextVideo

        return LlavaNextVideo


class MicroPretrainingConfig(Config):
    """The two 2D stages that give every micro student the same start."""

    tower_steps: NonNegativeInt = 400
    tower_images: PositiveInt = 48
    tower_learning_rate: PositiveFloat = 3e-3
    language_steps: NonNegativeInt = 250
    language_frames: PositiveInt = 40
    language_learning_rate: PositiveFloat = 2e-3
    checkpoint_every: Annotated[PositiveInt, CONDUCT] = 100
    evaluation_frames: PositiveInt = 300
    seed: int = Field(default=0, ge=0)
