"""Loading real LLaVA weights: lmms-lab files under transformers names, nothing silently random."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
)

from threedrs_components.students.tokenizer import StudentTokenizer, qwen_tokenizer
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
LMMS_LAB_NAMES = {
    r"^model\.vision_tower\.vision_tower\.vision_model\.": "model.vision_tower.",
    r"^model\.mm_projector\.0\.": "model.multi_modal_projector.linear_1.",
    r"^model\.mm_projector\.2\.": "model.multi_modal_projector.linear_2.",
    r"^model\.(layers|embed_tokens|norm)\b": r"model.language_model.\1",
}
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


def load_real_model(
    folder: Path,
    vision: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.bfloat16,
) -> tuple[LlavaOnevisionForConditionalGeneration, StudentTokenizer]:
    """Load lmms-lab (`llava_qwen`) or hf (`llava_onevision`) weights.

    Args:
        folder: config.json, weights and tokenizer.
        vision: SigLIP fields; lmms-lab's configuration does not carry them. None is so400m/14-384.
        dtype: of the loaded weights.

    Raises:
        CheckpointError: unknown model type, or a tensor is missing or of another shape.
    """
    stored = _read_config(folder)
    kind = stored.get("model_type")
    if kind == "llava_qwen":
        config = lmms_lab_config(stored, vision or SIGLIP_SO400M)
        mapping: dict[str, str] | None = LMMS_LAB_NAMES
    elif kind == "llava_onevision":
        config, mapping = LlavaOnevisionConfig.from_pretrained(folder), None
    else:
        raise CheckpointError(
            f"{folder}/config.json: model_type is {kind!r}; expected 'llava_qwen' (lmms-lab) or "
            "'llava_onevision' (llava-hf)"
        )
    # Mismatches are collected, not raised, so that the report below names all of them.
    loaded: Any = LlavaOnevisionForConditionalGeneration.from_pretrained(
        folder,
        config=config,
        key_mapping=mapping,
        dtype=dtype,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    model, report = loaded
    _refuse_random_tensors(folder, report)
    tokenizer = qwen_tokenizer(folder, config.video_token_id)
    _fill_new_rows(model, tokenizer)
    return model, tokenizer


def lmms_lab_config(stored: dict[str, Any], vision: dict[str, Any]) -> LlavaOnevisionConfig:
    """The transformers configuration that lmms-lab's own does not translate to."""
    text = Qwen2Config(
        **{name: stored[name] for name in TEXT_FIELDS if name in stored},
        rope_parameters={"rope_type": "default", "rope_theta": stored.get("rope_theta", 1e6)},
        tie_word_embeddings=False,
    )
    spare = text.vocab_size - 2
    return LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**vision),
        text_config=text,
        video_token_index=min(VISUAL_ID, spare),
        image_token_index=min(IMAGE_ID, spare + 1),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=False,
    )


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        stored: dict[str, Any] = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}: config.json cannot be read: {error}") from error
    return stored


def _refuse_random_tensors(folder: Path, report: dict[str, Any]) -> None:
    """transformers only prints what it could not load, and goes on with random tensors."""
    missing = sorted(map(str, report["missing_keys"]))
    mismatched = sorted(map(str, report["mismatched_keys"]))
    if missing or mismatched:
        raise CheckpointError(
            f"{folder}: {len(missing)} tensors are missing ({', '.join(missing[:5])}), "
            f"{len(mismatched)} have another shape ({', '.join(mismatched[:5])})"
        )


def _fill_new_rows(model: Any, tokenizer: StudentTokenizer) -> None:
    """`<ground>` and `<coord>` start as the mean of the rows before them, as released."""
    first = min(tokenizer.ground_id, tokenizer.coord_id)
    rows = model.get_input_embeddings().weight.shape[0]
    if max(tokenizer.ground_id, tokenizer.coord_id) >= min(rows, tokenizer.visual_id):
        raise CheckpointError(f"the embedding table ({rows} rows) has no room for special tokens")
    with torch.no_grad():
        for table in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
            table[[tokenizer.ground_id, tokenizer.coord_id]] = (
                table[:first].float().mean(0).to(table.dtype)
            )
