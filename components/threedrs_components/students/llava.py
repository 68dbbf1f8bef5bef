"""What all LLaVA models share: a tower with learned positions, a projector, a language model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor

from threedrs_components.students.settings import MicroWidths, Part
from threedrs_components.students.student import Student
from threedrs_components.students.tokenizer import IMAGE, StudentTokenizer


class Llava(Student):
    """A student of one of transformers' LLaVA classes."""

    part_prefixes: ClassVar[tuple[tuple[str, Part], ...]] = (
        ("model.vision_tower.", "vision"),
        ("model.multi_modal_projector.", "projector"),
        ("model.image_newline", "projector"),
    )
    layer: ClassVar[int]
    """Which of the tower's hidden states is read, counted from the end."""
    selection: ClassVar[Literal["full", "default"]]
    """Whether all tokens of that layer are read, or (default) all but the first, a class token."""
    micro_tower: ClassVar[Mapping[str, Any]] = {}
    """Further fields of the micro tower's configuration."""

    @classmethod
    def micro_fields(cls, widths: MicroWidths, tokenizer: StudentTokenizer) -> dict[str, Any]:
        """The tower has as many layers as are asked for, and those behind the one that is read."""
        return {
            "vision_config": {
                "hidden_size": widths.vision_width,
                "intermediate_size": widths.vision_ff,
                "num_hidden_layers": widths.vision_layers - 1 - cls.layer,
                "num_attention_heads": widths.vision_heads,
                "image_size": widths.image_size,
                "patch_size": widths.patch_size,
                **cls.micro_tower,
            },
            "text_config": {"tie_word_embeddings": False},
            "video_token_index": tokenizer.visual_id,
            "image_token_index": tokenizer.token_id(IMAGE),
            "vision_feature_layer": cls.layer,
            "vision_feature_select_strategy": cls.selection,
        }

    @abstractmethod
    def pixels(self, images: Tensor) -> Tensor:
        """Images [B, H, W, 3] uint8 as the tower was trained on them, [B, 3, H, W]."""

    def patch_states(self, images: Tensor) -> Tensor:
        """States of the patches at the layer that is read, without its final norm."""
        tower = self.model.model.vision_tower
        output = tower(self.pixels(images), output_hidden_states=True)
        states: Tensor = output.hidden_states[self.layer]
        return states[:, 1:] if self.selection == "default" else states

    @property
    def rows(self) -> int:
        """Rows of patches per frame, before pooling."""
        return self.image_size // self.patch_size

    @property
    def image_size(self) -> int:
        """Side of the frames: learned positions are for one size."""
        return int(self.model.config.vision_config.image_size)

    @property
    def patch_size(self) -> int:
        """Side of the square of pixels that the patch embedding reads."""
        return int(self.model.config.vision_config.patch_size)

    @property
    def vision_width(self) -> int:
        """Width of the tower's states."""
        return int(self.model.config.vision_config.hidden_size)
