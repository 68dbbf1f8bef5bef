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
from threedrs_components.students.settings import Newline
from threedrs_components.students.tokenizer import QWEN_CHAT
from threedrs_platform.errors import CheckpointError

LMMS_LAB = "llava_qwen"
"""The model_type of lmms-lab's layout."""
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
LMMS_LAB_NAMES = {
    r"^model\.vision_tower\.vision_tower\.vision_model\.": "model.vision_tower.",
    r"^model\.mm_projector\.0\.": "model.multi_modal_projector.linear_1.",
    r"^model\.mm_projector\.2\.": "model.multi_modal_projector.linear_2.",
    r"^model\.(layers|embed_tokens|norm)\b": r"model.language_model.\1",
}
NEWLINE_NAMES: dict[str, Newline] = {"grid": "row", "one_token": "end"}
"""What lmms-lab calls the place of the newline vector in a video."""
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
    # SigLIP's last layer and pooling head: a folder may keep them, no LLaVA reads them.
    not_loaded = (r"vision_tower\.(.*\.)?(encoder\.layers\.26|head)\.",)

    @classmethod
    def published_config(
        cls, folder: Path, stored: Mapping[str, Any], newline: Newline
    ) -> tuple[PretrainedConfig, Mapping[str, str] | None]:
        """Either layout; the newline vector must be where the kind of student has it."""
        _refuse_newline(folder, stored.get("mm_newline_position"), newline)
        if stored["model_type"] == LMMS_LAB:
            return lmms_lab_config(stored), LMMS_LAB_NAMES
        config = LlavaOnevisionConfig.from_pretrained(folder)
        read = (config.vision_feature_layer, config.vision_feature_select_strategy)
        if read != (cls.layer, cls.selection):
            raise CheckpointError(
                f"{folder}/config.json: the vision tower is read at layer {read[0]}, strategy "
                f"{read[1]!r}; LLaVA-OneVision reads all tokens of the last one (-1, 'full')"
            )
        return config, None

    def unread(self) -> tuple[str, ...]:
        """The tower's final norm."""
        return ("model.vision_tower.post_layernorm.",)

    def pixels(self, images: Tensor) -> Tensor:
        """From -1 to 1."""
        return (images.permute(0, 3, 1, 2).float() / 127.5 - 1.0).to(self.dtype)

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


def lmms_lab_config(stored: Mapping[str, Any]) -> LlavaOnevisionConfig:
    """The transformers configuration that lmms-lab's own does not translate to.

    It does not say what the vision tower is like: without a `vision_config` it is so400m/14-384.
    """
    tied = bool(stored.get("tie_word_embeddings", False))
    text = Qwen2Config(
        **{name: stored[name] for name in TEXT_FIELDS if name in stored},
        rope_parameters={"rope_type": "default", "rope_theta": stored.get("rope_theta", 1e6)},
        tie_word_embeddings=tied,
    )
    spare = text.vocab_size - 2
    return LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**stored.get("vision_config", SIGLIP_SO400M)),
        text_config=text,
        video_token_index=min(VISUAL_ID, spare),
        image_token_index=min(IMAGE_ID, spare + 1),
        vision_feature_layer=SiglipQwen2.layer,
        vision_feature_select_strategy=SiglipQwen2.selection,
        tie_word_embeddings=tied,
    )


def _refuse_newline(folder: Path, stored: str | None, wanted: Newline) -> None:
    """Both models have one layout of tensors; their configuration tells them apart."""
    if stored is not None and NEWLINE_NAMES.get(stored) != wanted:
        raise CheckpointError(
            f"{folder}/config.json: mm_newline_position is {stored!r}, which this student does not "
            "have; choose kind llava_video for 'grid', llava_onevision for 'one_token'"
        )
