"""SigLIP, a two-layer projector and Qwen2: the modules of LLaVA-Video and LLaVA-OneVision.

Their weights are published in lmms-lab's own layout, or in that of llava-hf.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PretrainedConfig,
    Qwen2Config,
    SiglipVisionConfig,
)

from threedrs_components.students.llava import Llava
from threedrs_components.students.lmms_lab import (
    DROPPED,
    EMBEDDING,
    HEAD_NAMES,
    MODEL_NAMES,
    MODEL_TYPES,
    trained_ids,
)
from threedrs_components.students.pixels import centred_pixels
from threedrs_components.students.tokenizer import IMAGE, QWEN_CHAT, StoredWords
from threedrs_components.students.weight_files import stored_tensors
from threedrs_platform.errors import CheckpointError

VISUAL_ID, IMAGE_ID = 152_000, 152_001
"""Spare rows of Qwen2's 152,064; `<ground>` and `<coord>` take the first ones after the words."""
SIGLIP_SO400M = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 26,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 14,
    "vision_use_head": False,
}
"""The released model drops the last of 27 layers and reads the 26th without a final norm."""
TEXT_FIELDS = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
    "rms_norm_eps",
)


class SiglipQwen2(Llava):
    """A student of class `LlavaOnevisionForConditionalGeneration`."""

    model_class = LlavaOnevisionForConditionalGeneration
    layer = -1
    selection = "full"
    micro_tower: ClassVar[Mapping[str, Any]] = {"vision_use_head": False}
    real_chat = QWEN_CHAT
    not_loaded = (*DROPPED, *HEAD_NAMES)
    head_names = HEAD_NAMES

    @classmethod
    def published_config(
        cls, folder: Path, stored: Mapping[str, Any], words: StoredWords
    ) -> tuple[PretrainedConfig, Mapping[str, str] | None]:
        """Either layout."""
        if stored["model_type"] in MODEL_TYPES:
            # The stored number may be that of the weights before: the table itself is right.
            rows = stored_tensors(folder)[EMBEDDING].shape[0]
            places = placeholders(rows, words.size, words.tokenizer.token_to_id(IMAGE))
            return lmms_lab_config({**stored, "vocab_size": rows}, places), MODEL_NAMES
        config = LlavaOnevisionConfig.from_pretrained(folder)
        read = (config.vision_feature_layer, config.vision_feature_select_strategy)
        if read != (cls.layer, cls.selection):
            raise CheckpointError(
                f"{folder}/config.json: the vision tower is read at layer {read[0]}, strategy "
                f"{read[1]!r}; LLaVA-OneVision reads all tokens of the last one (-1, 'full')"
            )
        return config, None

    @classmethod
    def trained_ids(cls, stored: Mapping[str, Any]) -> tuple[int, ...]:
        """As the released code writes them down."""
        return trained_ids(stored)

    def unread(self) -> tuple[str, ...]:
        """The tower's final norm."""
        return ("model.vision_tower.post_layernorm.",)

    def pixels(self, images: Tensor) -> Tensor:
        """From -1 to 1."""
        return centred_pixels(images, self.dtype)

    def patches(self, images: Tensor) -> Tensor:
        """One token per patch."""
        projected = self.model.model.multi_modal_projector(self.patch_states(images))
        tokens: Tensor = projected.unflatten(1, (self.rows, self.rows))
        return tokens

    def pool(self, patches: Tensor) -> Tensor:
        """Half as many rows and columns, bilinear."""
        pooled = self.model.model.apply_pooling(patches.flatten(1, 2))
        # transformers leaves a transposed view, with the tokens closest in memory.
        tokens: Tensor = pooled.contiguous().unflatten(1, (self.grid, self.grid))
        return tokens

    @property
    def grid(self) -> int:
        """Half the rows of patches, rounded up: 27 become 14."""
        return -(-self.rows // 2)


def placeholders(rows: int, words: int, image: int | None = None) -> tuple[int, int]:
    """Ids that stand for visual tokens, and for images, where a student's text is shown to others.

    Nothing embeds them here, so they need no rows; spare ones are taken where there are some.

    Args:
        rows: of the embedding table.
        words: ids that the tokenizer uses, from 0.
        image: what it calls `<image>`, if anything.
    """
    spare = min(VISUAL_ID, rows - 2)
    if spare >= words:
        return spare, min(IMAGE_ID, rows - 1)
    return (rows if image is None else image), rows + 1


def lmms_lab_config(stored: Mapping[str, Any], places: tuple[int, int]) -> LlavaOnevisionConfig:
    """The transformers configuration that lmms-lab's own does not translate to.

    It does not say what the vision tower is like: without a `vision_config` it is so400m/14-384.

    Args:
        stored: its config.json.
        places: placeholders of videos and of images.
    """
    tied = bool(stored.get("tie_word_embeddings", False))
    text = Qwen2Config(
        **{name: stored[name] for name in TEXT_FIELDS if name in stored},
        rope_parameters={"rope_type": "default", "rope_theta": stored.get("rope_theta", 1e6)},
        tie_word_embeddings=tied,
    )
    return LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**stored.get("vision_config", SIGLIP_SO400M)),
        text_config=text,
        video_token_index=places[0],
        image_token_index=places[1],
        vision_feature_layer=SiglipQwen2.layer,
        vision_feature_select_strategy=SiglipQwen2.selection,
        tie_word_embeddings=tied,
    )
