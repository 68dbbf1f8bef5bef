"""Tiny random checkpoints in the layouts that real ones are published in, for tests and trials."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextVideoConfig,
    LlavaOnevisionConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2VLConfig,
    Qwen3VLConfig,
)

from threedrs_components.students.registry import STUDENTS, AnyStudent
from threedrs_components.students.siglip_qwen2 import lmms_lab_config
from threedrs_components.students.student import Student

VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 8,
    "vision_use_head": False,
}
TEXT: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
STORED = {"model_type": "llava_qwen", "rope_theta": 1e6, "vision_config": VISION, **TEXT}
TO_LMMS_LAB = (
    (r"^model\.vision_tower\.", "model.vision_tower.vision_tower.vision_model."),
    (r"^model\.multi_modal_projector\.linear_1", "model.mm_projector.0"),
    (r"^model\.multi_modal_projector\.linear_2", "model.mm_projector.2"),
    (r"^model\.language_model\.", "model."),
)
ROPE = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 2, 2]}
QWEN_IDS: dict[str, Any] = {
    "image_token_id": 60,
    "video_token_id": 61,
    "vision_start_token_id": 3,
    "vision_end_token_id": 4,
}
QWEN_VISION: dict[str, Any] = {
    "depth": 2,
    "embed_dim": 32,
    "hidden_size": 48,
    "num_heads": 2,
    "patch_size": 4,
}
QWEN3_VISION: dict[str, Any] = {
    "depth": 4,
    "hidden_size": 32,
    "out_hidden_size": 48,
    "num_heads": 2,
    "patch_size": 4,
    "intermediate_size": 48,
    "num_position_embeddings": 16,
    "deepstack_visual_indexes": [0, 1, 2],
}
QWEN_TEXT = {**TEXT, "rope_parameters": ROPE, "bos_token_id": None, "eos_token_id": 1}
WORDS = (
    *("<|im_start|>", "<|im_end|>", "?", "<|vision_start|>", "<|vision_end|>", "<s>", "</s>"),
    *("system", "user", "assistant", "USER", "ASSISTANT", "red", "lamp"),
)
LAYOUTS = {
    "llava_video/lmms-lab": "llava_video",
    "llava_onevision/lmms-lab": "llava_onevision",
    "llava_onevision/llava-hf": "llava_onevision",
    "qwen2_vl/Qwen": "qwen2_vl",
    "qwen2_5_vl/Qwen": "qwen2_5_vl",
    "qwen3_vl/Qwen": "qwen3_vl",
    "llava_next_video/llava-hf": "llava_next_video",
}
"""Where weights come from, and the kind of student that reads them."""


def publish(
    layout: str, folder: Path, *, tied: bool = False
) -> tuple[AnyStudent, dict[str, Tensor]]:
    """Write a checkpoint; its student's configuration, and its tensors by transformers names.

    Args:
        layout: one of `LAYOUTS`.
        folder: to be made.
        tied: the word table is the output table, too, as in sizes below 7b.
    """
    kind = LAYOUTS[layout]
    largest = [*STUDENTS[kind].real_layers][-1]
    chosen = STUDENTS.read({"kind": kind, "size": largest, "checkpoint": str(folder)})
    architecture: type[Student] = chosen.architecture()
    torch.manual_seed(0)
    model = architecture.model_class(tiny_config(layout, tied=tied))
    ours = {name: value.clone() for name, value in model.state_dict().items()}
    folder.mkdir(parents=True)
    if layout.endswith("lmms-lab"):
        kept = {name: value for name, value in ours.items() if not (tied and "lm_head" in name)}
        stored = {lmms_lab_name(name): value for name, value in kept.items()}
        save_file(stored, folder / "model.safetensors", {"format": "pt"})
        newline = {"llava_video": "grid", "llava_onevision": "one_token"}[kind]
        content = {**STORED, "mm_newline_position": newline, "tie_word_embeddings": tied}
        (folder / "config.json").write_text(json.dumps(content))
    else:
        _save_as_on_the_hub(model, folder)
    write_tokenizer(folder)
    return chosen, ours


def tiny_config(layout: str, *, tied: bool = False) -> PretrainedConfig:
    """The transformers configuration of a checkpoint."""
    if layout.endswith("lmms-lab"):
        return lmms_lab_config({**STORED, "tie_word_embeddings": tied}, (62, 63))
    builders = {
        "llava_onevision/llava-hf": _onevision,
        "qwen2_vl/Qwen": _qwen2_vl,
        "qwen2_5_vl/Qwen": _qwen2_5_vl,
        "qwen3_vl/Qwen": _qwen3_vl,
        "llava_next_video/llava-hf": _next_video,
    }
    config: Any = builders[layout]()
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = tied
    whole: PretrainedConfig = config
    return whole


def lmms_lab_name(name: str) -> str:
    """What lmms-lab calls a tensor of transformers."""
    for pattern, replacement in TO_LMMS_LAB:
        name = re.sub(pattern, replacement, name)
    return name


def write_tokenizer(folder: Path) -> None:
    """Every mark of every chat as one word."""
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens([word for word in WORDS if word.startswith("<")])
    fast: Any = PreTrainedTokenizerFast
    fast(tokenizer_object=tokenizer, unk_token="?").save_pretrained(folder)


def _save_as_on_the_hub(model: PreTrainedModel, folder: Path) -> None:
    """transformers writes the hub's names, but for one level that older versions had."""
    model.save_pretrained(folder)
    path = folder / "model.safetensors"
    renamed = {
        re.sub(r"^vision_tower\.", "vision_tower.vision_model.", name): value
        for name, value in load_file(path).items()
    }
    save_file(renamed, path, {"format": "pt"})


def _onevision() -> PretrainedConfig:
    return LlavaOnevisionConfig(
        vision_config={"model_type": "siglip_vision_model", **VISION},
        text_config={"model_type": "qwen2", **TEXT, "bos_token_id": None, "eos_token_id": 1},
        video_token_index=60,
        image_token_index=61,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=False,
    )


def _qwen2_vl() -> PretrainedConfig:
    return Qwen2VLConfig(vision_config=QWEN_VISION, text_config=QWEN_TEXT, **QWEN_IDS)


def _qwen2_5_vl() -> PretrainedConfig:
    tower: dict[str, Any] = {
        **{"depth": 2, "hidden_size": 32, "out_hidden_size": 48, "num_heads": 2, "patch_size": 4},
        **{"intermediate_size": 48, "window_size": 32, "fullatt_block_indexes": [1]},
    }
    return Qwen2_5_VLConfig(vision_config=tower, text_config=QWEN_TEXT, **QWEN_IDS)


def _qwen3_vl() -> PretrainedConfig:
    rope = {**ROPE, "rope_theta": 5e6, "mrope_section": [4, 2, 2], "mrope_interleaved": True}
    # Heads are wider than they divide the states, as in 4B.
    text = {**QWEN_TEXT, "num_hidden_layers": 4, "head_dim": 16, "rope_parameters": rope}
    return Qwen3VLConfig(vision_config=QWEN3_VISION, text_config=text, **QWEN_IDS)


def _next_video() -> PretrainedConfig:
    vision = {name: value for name, value in VISION.items() if name != "vision_use_head"}
    return LlavaNextVideoConfig(
        vision_config=CLIPVisionConfig(**vision | {"num_hidden_layers": 3}),
        text_config=LlamaConfig(**TEXT, bos_token_id=5, eos_token_id=6),
        video_token_index=60,
        image_token_index=61,
    )
