"""Configuration of students and of the micro student's 2D pretraining. Imports no torch."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from threedrs_platform.config import Config

if TYPE_CHECKING:
    from threedrs_components.students.student import Student

ObjectFeatures = Literal["llm", "vision", "both"]
ObjectMembership = Literal["share", "released"]
Part = Literal["vision", "projector", "language"]


class MicroWidths(Config):
    """Sizes of the micro student: the real architecture, small enough for one CPU thread."""

    image_size: PositiveInt = 64
    patch_size: PositiveInt = 8
    vision_width: PositiveInt = 64
    vision_layers: PositiveInt = 2
    vision_heads: PositiveInt = 4
    vision_ff: PositiveInt = 128
    width: PositiveInt = 128
    layers: PositiveInt = 3
    heads: PositiveInt = 4
    key_value_heads: PositiveInt = 4
    ff: PositiveInt = 256

    @model_validator(mode="after")
    def _whole_patches(self) -> Self:
        if self.image_size % (2 * self.patch_size):
            raise ValueError("image_size must be a multiple of 2 * patch_size")
        return self


class StudentSettings(Config):
    """What every kind of student can choose."""

    size: Literal["micro", "7b"] = "micro"
    checkpoint: str | None = None
    """A student folder, or for size 7b the published weights."""
    position_encoding: bool = False
    """Add the sine encoding of world coordinates to visual tokens and object features."""
    object_features: ObjectFeatures = "llm"
    """Where candidates are pooled: last hidden states, projected vision tokens, or their mean."""
    object_membership: ObjectMembership = "share"
    """How a token counts for a candidate: by the share of its pixels inside the box, or as
    released all or nothing: hidden states from an eighth of the pixels on (91 of 729), vision
    tokens from half of them on (98 of 196) and before they are pooled. The latter reads
    prepare.patch_grid, unless the student pools inside its vision tower."""
    coord_input: Literal["region", "encoding"] = "region"
    """What `<coord>` carries: the box's visual feature, or as released only the encoding of its
    centre, which needs position_encoding."""
    blind: bool = False
    """Control: no visual token, object features zero."""
    frozen: tuple[Part, ...] = ()
    """Parts that fine-tuning leaves as they are. The others learn at the rates of `training`."""
    gradient_checkpointing: bool = False
    micro: MicroWidths = MicroWidths()

    real_image_size: ClassVar[int] = 384
    """Side of the frames at size 7b."""
    real_grid: ClassVar[int] = 14
    """Token rows and columns per frame at size 7b."""
    real_layers: ClassVar[int] = 28
    """Layers of the language model at size 7b."""
    real_patch_grid: ClassVar[int | None] = 27
    """Rows of vision tokens before pooling at size 7b; None where the tower pools them."""

    @model_validator(mode="after")
    def _choices_fit(self) -> Self:
        if self.coord_input == "encoding" and not self.position_encoding:
            raise ValueError("coord_input 'encoding' says nothing without position_encoding: true")
        if self.size == "7b" and self.checkpoint is None:
            raise ValueError("size '7b' needs checkpoint: a folder with the weights")
        return self

    @property
    def image_size(self) -> int:
        """Side of the frames that scenes must be prepared with."""
        return self.micro.image_size if self.size == "micro" else self.real_image_size

    @property
    def grid(self) -> int:
        """Token rows and columns per frame."""
        if self.size == "micro":
            return self.micro.image_size // (2 * self.micro.patch_size)
        return self.real_grid

    @property
    def patch_grid(self) -> int | None:
        """Rows of vision tokens before pooling that released object features need, if any."""
        reads_vision = self.object_features in ("vision", "both") and not self.blind
        if self.object_membership == "share" or not reads_vision or self.real_patch_grid is None:
            return None
        if self.size == "micro":
            return self.micro.image_size // self.micro.patch_size
        return self.real_patch_grid

    def build(self, dtype: Literal["float32", "bfloat16"] = "float32") -> Student:
        """Load the checkpoint; modules that it does not hold get random weights.

        Args:
            dtype: of real weights; a student folder has its own.

        Raises:
            CheckpointError: there is no checkpoint, or it does not fit.
        """
        from threedrs_components.students.checkpoints import build_student

        return build_student(self, dtype)

    @abstractmethod
    def architecture(self) -> type[Student]:
        """The class that this kind configures."""


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
    checkpoint_every: PositiveInt = 100
    evaluation_frames: PositiveInt = 300
    seed: int = Field(default=0, ge=0)
