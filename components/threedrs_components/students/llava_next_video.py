"""LLaVA-NeXT-Video: CLIP without its last layer, tokens pooled before the projector, Vicuna."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextVideoConfig,
    LlavaNextVideoForConditionalGeneration,
    PreTrainedModel,
)

from threedrs_components.students.clip_pixels import clip_pixels
from threedrs_components.students.published_weights import (
    fill_new_rows,
    load_published,
    read_model_config,
    refuse_model_type,
)
from threedrs_components.students.settings import MicroWidths, Part
from threedrs_components.students.student import Student
from threedrs_components.students.tokenizer import (
    IMAGE,
    MICRO_CHAT,
    ChatMarkup,
    StudentTokenizer,
    stored_tokenizer,
)

MAX_POSITIONS = 4096
LAYER = -2
"""Of CLIP's hidden states: the last but one; its class token is dropped."""
UNREAD = (r"embeddings\.position_ids$",)
"""A counter that older files of CLIP carry."""
VICUNA_CHAT = ChatMarkup(
    header="<s>USER: ",
    opening="\n",
    reply=" ASSISTANT: ",
    end="</s>",
    visual="",
    newline="none",
)


class LlavaNextVideo(Student):
    """12 rows of 12 positions per frame at full size, no newline vector."""

    model_class = LlavaNextVideoForConditionalGeneration
    micro_chat = replace(MICRO_CHAT, newline="none")
    part_prefixes: ClassVar[tuple[tuple[str, Part], ...]] = (
        ("model.vision_tower.", "vision"),
        ("model.multi_modal_projector.", "projector"),
        ("model.image_newline", "projector"),
    )

    @classmethod
    def micro_config(cls, widths: MicroWidths, tokenizer: StudentTokenizer) -> LlavaNextVideoConfig:
        """The real architecture in micro widths; one more layer in the tower, which is not read."""
        vision = CLIPVisionConfig(
            hidden_size=widths.vision_width,
            intermediate_size=widths.vision_ff,
            num_hidden_layers=widths.vision_layers + 1,
            num_attention_heads=widths.vision_heads,
            image_size=widths.image_size,
            patch_size=widths.patch_size,
        )
        text = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=widths.width,
            intermediate_size=widths.ff,
            num_hidden_layers=widths.layers,
            num_attention_heads=widths.heads,
            num_key_value_heads=widths.key_value_heads,
            max_position_embeddings=MAX_POSITIONS,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=tokenizer.end_id,
        )
        return LlavaNextVideoConfig(
            vision_config=vision,
            text_config=text,
            video_token_index=tokenizer.visual_id,
            image_token_index=tokenizer.token_id(IMAGE),
            vision_feature_layer=LAYER,
            vision_feature_select_strategy="default",
            tie_word_embeddings=False,
        )

    @classmethod
    def read_weights(
        cls, folder: Path, dtype: torch.dtype
    ) -> tuple[PreTrainedModel, StudentTokenizer]:
        """Files of llava-hf."""
        found = read_model_config(folder).get("model_type")
        refuse_model_type(folder, found, {"llava_next_video": "llava-hf/LLaVA-NeXT-Video-7B-hf"})
        config = LlavaNextVideoConfig.from_pretrained(folder)
        model = load_published(cls.model_class, folder, config, dtype, unread=UNREAD)
        tokenizer = stored_tokenizer(folder, VICUNA_CHAT, config.video_token_id)
        fill_new_rows(folder, model, tokenizer)
        return model, tokenizer

    def patch_states(self, images: Tensor) -> Tensor:
        """The last layer of the tower but one, without the class token."""
        pixels = clip_pixels(images, self.dtype)
        tower = self.model.model.vision_tower
        states: Tensor = tower(pixels, output_hidden_states=True).hidden_states[LAYER]
        return states[:, 1:]

    def patches(self, images: Tensor) -> Tensor:
        """One token per square of 2 x 2 patches: pooling comes before the projector."""
        pooled = self.model.model.vision_resampler(self.patch_states(images))
        tokens: Tensor = self.model.model.multi_modal_projector(pooled)
        return tokens.reshape(len(images), self.grid, self.grid, -1)

    def unread(self) -> tuple[str, ...]:
        """The tower's end, and the newline vector of single images."""
        last = self.model.config.vision_config.num_hidden_layers - 1
        return (
            "model.vision_tower.post_layernorm.",
            f"model.vision_tower.encoder.layers.{last}.",
            "model.image_newline",
        )

    @property
    def grid(self) -> int:
        """Half the patches."""
        return self.image_size // self.patch_size // 2

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
        """Of CLIP."""
        return int(self.model.config.vision_config.hidden_size)
