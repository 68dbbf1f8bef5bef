"""LLaVA-Video and LLaVA-OneVision as published: lmms-lab's own layout, or that of llava-hf."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedModel,
    Qwen2Config,
    SiglipVisionConfig,
)

from threedrs_components.students.published_weights import (
    fill_new_rows,
    load_published,
    read_model_config,
    refuse_model_type,
)
from threedrs_components.students.tokenizer import (
    Newline,
    StudentTokenizer,
    qwen_chat,
    stored_tokenizer,
)
from threedrs_platform.errors import CheckpointError

LMMS_LAB, LLAVA_HF = "llava_qwen", "llava_onevision"
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
UNREAD = (r"vision_tower\.(.*\.)?(encoder\.layers\.26|head)\.",)
"""SigLIP's last layer and pooling head: a folder may keep them, no LLaVA reads them."""
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


def read_llava(
    folder: Path,
    dtype: torch.dtype,
    published: Mapping[str, str],
    newline: Newline,
) -> tuple[PreTrainedModel, StudentTokenizer]:
    """Load lmms-lab (`llava_qwen`) or hf (`llava_onevision`) weights.

    Args:
        folder: config.json, weights and tokenizer.
        dtype: of the loaded weights.
        published: model types that this kind of student can be, and where their weights come from.
        newline: where the kind of student that is asked for puts the newline vector.

    Raises:
        CheckpointError: another model, or a tensor that is missing, extra or of another shape.
    """
    stored = read_model_config(folder)
    kind = stored.get("model_type")
    refuse_model_type(folder, kind, published)
    _refuse_newline(folder, stored.get("mm_newline_position"), newline)
    if kind == LMMS_LAB:
        config = lmms_lab_config(stored)
    else:
        config = LlavaOnevisionConfig.from_pretrained(folder)
        _refuse_tower_reading(folder, config)
    model = load_published(
        LlavaOnevisionForConditionalGeneration,
        folder,
        config,
        dtype,
        names=LMMS_LAB_NAMES if kind == LMMS_LAB else None,
        unread=UNREAD,
    )
    tokenizer = stored_tokenizer(folder, qwen_chat(newline), config.video_token_id)
    fill_new_rows(folder, model, tokenizer)
    return model, tokenizer


def lmms_lab_config(stored: dict[str, Any]) -> LlavaOnevisionConfig:
    """The transformers configuration that lmms-lab's own does not translate to.

    It does not say what the vision tower is like: without a `vision_config` it is so400m/14-384.
    """
    text = Qwen2Config(
        **{name: stored[name] for name in TEXT_FIELDS if name in stored},
        rope_parameters={"rope_type": "default", "rope_theta": stored.get("rope_theta", 1e6)},
        tie_word_embeddings=False,
    )
    spare = text.vocab_size - 2
    return LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**stored.get("vision_config", SIGLIP_SO400M)),
        text_config=text,
        video_token_index=min(VISUAL_ID, spare),
        image_token_index=min(IMAGE_ID, spare + 1),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=False,
    )


def _refuse_newline(folder: Path, stored: str | None, wanted: Newline) -> None:
    """Both models have one layout of tensors; their configuration tells them apart."""
    if stored is not None and NEWLINE_NAMES.get(stored) != wanted:
        raise CheckpointError(
            f"{folder}/config.json: mm_newline_position is {stored!r}, which this student does not "
            "have; choose kind llava_video for 'grid', llava_onevision for 'one_token'"
        )


def _refuse_tower_reading(folder: Path, config: LlavaOnevisionConfig) -> None:
    read = (config.vision_feature_layer, config.vision_feature_select_strategy)
    if read != (-1, "full"):
        raise CheckpointError(
            f"{folder}/config.json: the vision tower is read at layer {read[0]}, strategy "
            f"{read[1]!r}; LLaVA-OneVision reads all tokens of the last one (-1, 'full')"
        )
