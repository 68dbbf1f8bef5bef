"""SigLIP, a two-layer projector and Qwen2: the modules of LLaVA-Video and LLaVA-OneVision."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedModel,
    Qwen2Config,
    SiglipVisionConfig,
)

from threedrs_components.students.real_weights import read_llava
from threedrs_components.students.settings import MicroWidths, Part
from threedrs_components.students.student import Student
from threedrs_components.students.tokenizer import IMAGE, Newline, StudentTokenizer

MAX_POSITIONS = 4096


class SiglipQwen2(Student):
    """A student of class `LlavaOnevisionForConditionalGeneration`."""

    model_class = LlavaOnevisionForConditionalGeneration
    published: ClassVar[Mapping[str, str]]
    """By model_type in config.json, where weights of this kind come from."""
    real_newline: ClassVar[Newline]
    """Where they expect the newline vector."""
    part_prefixes: ClassVar[tuple[tuple[str, Part], ...]] = (
        ("model.vision_tower.", "vision"),
        ("model.multi_modal_projector.", "projector"),
        ("model.image_newline", "projector"),
    )

    @classmethod
    def micro_config(cls, widths: MicroWidths, tokenizer: StudentTokenizer) -> LlavaOnevisionConfig:
        """The real architecture in micro widths."""
        vision = SiglipVisionConfig(
            hidden_size=widths.vision_width,
            intermediate_size=widths.vision_ff,
            num_hidden_layers=widths.vision_layers,
            num_attention_heads=widths.vision_heads,
            image_size=widths.image_size,
            patch_size=widths.patch_size,
            vision_use_head=False,
        )
        text = Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=widths.width,
            intermediate_size=widths.ff,
            num_hidden_layers=widths.layers,
            num_attention_heads=widths.heads,
            num_key_value_heads=widths.key_value_heads,
            max_position_embeddings=MAX_POSITIONS,
            rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=tokenizer.end_id,
        )
        return LlavaOnevisionConfig(
            vision_config=vision,
            text_config=text,
            video_token_index=tokenizer.visual_id,
            image_token_index=tokenizer.token_id(IMAGE),
            vision_feature_layer=-1,
            vision_feature_select_strategy="full",
            tie_word_embeddings=False,
        )

    @classmethod
    def read_weights(
        cls, folder: Path, dtype: torch.dtype
    ) -> tuple[PreTrainedModel, StudentTokenizer]:
        """Files in a layout that this kind is published in."""
        return read_llava(folder, dtype, cls.published, cls.real_newline)

    def unread(self) -> tuple[str, ...]:
        """The tower's final norm."""
        return ("model.vision_tower.post_layernorm.",)

    def patch_states(self, images: Tensor) -> Tensor:
        """The last layer of the tower, without its final norm."""
        pixels = images.permute(0, 3, 1, 2).to(self.dtype) / 127.5 - 1.0
        tower = self.model.model.vision_tower
        states: Tensor = tower(pixels, output_hidden_states=True).hidden_states[-1]
        return states

    def patches(self, images: Tensor) -> Tensor:
        """One token per patch."""
        projected = self.model.model.multi_modal_projector(self.patch_states(images))
        side = self.image_size // self.patch_size
        tokens: Tensor = projected.unflatten(1, (side, side))
        return tokens

    def pool(self, patches: Tensor) -> Tensor:
        """Every second row and column, bilinear."""
        pooled = self.model.model.apply_pooling(patches.flatten(1, 2))
        tokens: Tensor = pooled.contiguous().unflatten(1, (self.grid, self.grid))
        return tokens

    @property
    def grid(self) -> int:
        """Half the patches, rounded up."""
        return -(-(self.image_size // self.patch_size) // 2)

    @property
    def image_size(self) -> int:
        """Of the learned position embeddings."""
        return int(self.model.config.vision_config.image_size)

    @property
    def patch_size(self) -> int:
        """Of the patch embedding."""
        return int(self.model.config.vision_config.patch_size)

    @property
    def vision_width(self) -> int:
        """Of SigLIP."""
        return int(self.model.config.vision_config.hidden_size)
