"""Configuration of students and of the micro student's 2D pretraining. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from threedrs_platform.config import Config

if TYPE_CHECKING:
    from threedrs_components.students.llava_video import LlavaVideo

ObjectFeatures = Literal["llm", "vision", "both"]


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


class LlavaVideoConfig(Config):
    """LLaVA-Video: SigLIP frames, a projector, Qwen2 reading the grid of visual tokens."""

    kind: Literal["llava_video"] = "llava_video"
    size: Literal["micro", "7b"] = "micro"
    checkpoint: str | None = None
    """A student folder, or the lmms-lab / hf weights of the 7B model."""
    position_encoding: bool = False
    """Add the sine encoding of world coordinates to visual tokens and object features."""
    object_features: ObjectFeatures = "llm"
    """Where candidates are pooled: last hidden states, projected vision tokens, or their mean."""
    coord_input: Literal["region", "encoding"] = "region"
    """What `<coord>` carries: the box's visual feature, or as released only the encoding of its
    centre, which needs position_encoding."""
    blind: bool = False
    """Control: no visual token, object features zero."""
    gradient_checkpointing: bool = False
    micro: MicroWidths = MicroWidths()

    @model_validator(mode="after")
    def _real_weights(self) -> Self:
        if self.coord_input == "encoding" and not self.position_encoding:
            raise ValueError("coord_input 'encoding' says nothing without position_encoding: true")
        if self.size == "7b" and self.checkpoint is None:
            raise ValueError("size '7b' needs checkpoint: a folder with the weights")
        return self

    def build(self, dtype: Literal["float32", "bfloat16"] = "float32") -> LlavaVideo:
        """Load the checkpoint; modules that it does not hold get random weights.

        Args:
            dtype: of real weights; a student folder has its own.

        Raises:
            CheckpointError: there is no checkpoint, or it does not fit.
        """
        from threedrs_components.students.llava_video import build_llava_video

        return build_llava_video(self, dtype)


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
