"""Tiny random checkpoints in the layouts that real ones are published in, for tests and trials."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import (
    CLIPVisionConfig,
    InternVLConfig,
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
INTERNVL_WORDS = (*WORDS, "<img>", "</img>", "<IMG_CONTEXT>", "Frame", ":", "-", *"0123456789")
INTERNVL_VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 4,
}
"""Half the rows of patches of a student's frames at 448 pixels: positions are interpolated."""
TO_OPENGVLAB = (
    (r"^model\.vision_tower\.embeddings\.cls_token", "vision_model.embeddings.class_embedding"),
    (r"^model\.vision_tower\.(.*)position_embeddings", r"vision_model.\1position_embedding"),
    (r"^model\.vision_tower\.(.*)patch_embeddings\.projection", r"vision_model.\1patch_embedding"),
    (r"^model\.vision_tower\.encoder\.layer\.", "vision_model.encoder.layers."),
    (r"layernorm_before", "norm1"),
    (r"layernorm_after", "norm2"),
    (r"lambda_", "ls"),
    (r"attention\.projection_layer", "attn.proj"),
    (r"attention\.(?=[qkv]_proj)", "attn."),
    (r"^model\.multi_modal_projector\.layer_norm", "mlp1.0"),
    (r"^model\.multi_modal_projector\.linear_1", "mlp1.1"),
    (r"^model\.multi_modal_projector\.linear_2", "mlp1.3"),
    (r"^model\.language_model\.", "language_model.model."),
    (r"^lm_head", "language_model.lm_head"),
)
LAYOUTS = {
    "llava_video/lmms-lab": "llava_video",
    "llava_onevision/lmms-lab": "llava_onevision",
    "llava_onevision/llava-hf": "llava_onevision",
    "qwen2_vl/Qwen": "qwen2_vl",
    "qwen2_5_vl/Qwen": "qwen2_5_vl",
    "qwen3_vl/Qwen": "qwen3_vl",
    "llava_next_video/llava-hf": "llava_next_video",
    "internvl/OpenGVLab": "internvl",
    "internvl/hf": "internvl",
}
"""Where weights come from, and the kind of student that reads them."""
CHOICES: dict[str, dict[str, Any]] = {"internvl/hf": {"release": "3.5"}}
"""What a student must say to read a layout, beside its kind."""


def publish(
    layout: str, folder: Path, *, tied: bool = False, **choices: Any
) -> tuple[AnyStudent, dict[str, Tensor]]:
    """Write a checkpoint; its student's configuration, and its tensors by transformers names.

    Args:
        layout: one of `LAYOUTS`.
        folder: to be made.
        tied: the word table is the output table, too, as in sizes below 7b.
        choices: further settings of the student.
    """
    kind = LAYOUTS[layout]
    largest = [*STUDENTS[kind].real_layers][-1]
    chosen = STUDENTS.read({"kind": kind, "size": largest, "checkpoint": str(folder)})
    chosen = STUDENTS.read({**chosen.model_dump(), **CHOICES.get(layout, {}), **choices})
    architecture: type[Student] = chosen.architecture()
    torch.manual_seed(0)
    model = architecture.model_class(tiny_config(layout, tied=tied, release=_release(chosen)))
    ours = {name: value.clone() for name, value in model.state_dict().items()}
    folder.mkdir(parents=True)
    if layout.endswith("lmms-lab"):
        kept = {name: value for name, value in ours.items() if not (tied and "lm_head" in name)}
        stored = {lmms_lab_name(name): value for name, value in kept.items()}
        save_file(stored, folder / "model.safetensors", {"format": "pt"})
        newline = {"llava_video": "grid", "llava_onevision": "one_token"}[kind]
        content = {**STORED, "mm_newline_position": newline, "tie_word_embeddings": tied}
        (folder / "config.json").write_text(json.dumps(content))
    elif layout.endswith("OpenGVLab"):
        kept = {name: value for name, value in ours.items() if not (tied and "lm_head" in name)}
        save_file(opengvlab_tensors(kept), folder / "model.safetensors", {"format": "pt"})
        content = opengvlab_content(model.config.to_dict())
        (folder / "config.json").write_text(json.dumps(content))
    else:
        _save_as_on_the_hub(model, folder)
    write_tokenizer(folder, INTERNVL_WORDS if kind == "internvl" else WORDS)
    return chosen, ours


def _release(student: AnyStudent) -> str:
    return str(getattr(student, "release", ""))


def tiny_config(layout: str, *, tied: bool = False, release: str = "") -> PretrainedConfig:
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
    of_internvl = layout.startswith("internvl/")
    config: Any = _internvl(release) if of_internvl else builders[layout]()
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = tied
    whole: PretrainedConfig = config
    return whole


def lmms_lab_name(name: str) -> str:
    """What lmms-lab calls a tensor of transformers."""
    for pattern, replacement in TO_LMMS_LAB:
        name = re.sub(pattern, replacement, name)
    return name


def opengvlab_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of transformers' InternVL as OpenGVLab stores them: q, k and v in one."""
    stored: dict[str, Tensor] = {}
    for name, value in tensors.items():
        for pattern, replacement in TO_OPENGVLAB:
            name = re.sub(pattern, replacement, name)
        stored[name] = value
    for name in [name for name in stored if ".attn.q_proj." in name]:
        parts = [
            stored.pop(name.replace("q_proj", part)) for part in ("q_proj", "k_proj", "v_proj")
        ]
        stored[name.replace("q_proj", "qkv")] = torch.cat(parts)
    return stored


def opengvlab_content(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config.json that OpenGVLab writes for a model of transformers."""
    text, vision = dict(config["text_config"]), config["vision_config"]
    rope = text.pop("rope_parameters")
    scaling = None if rope["rope_type"] == "default" else {"type": "dynamic", **rope}
    tower = {name: vision[name] for name in INTERNVL_VISION}
    return {
        "model_type": "internvl_chat",
        "architectures": ["InternVLChatModel"],
        "auto_map": {"AutoConfig": "configuration_internvl_chat.InternVLChatConfig"},
        "downsample_ratio": 0.5,
        "dynamic_image_size": True,
        "force_image_size": vision["image_size"][0],
        "ps_version": "v2",
        "select_layer": -1,
        "template": "internvl2_5",
        "llm_config": {
            **text,
            "attn_implementation": "flash_attention_2",
            "rope_theta": rope["rope_theta"],
            "rope_scaling": scaling,
        },
        "vision_config": {
            **tower,
            "image_size": vision["image_size"][0],
            "patch_size": vision["patch_size"][0],
            "model_type": "intern_vit_6b",
            "norm_type": "layer_norm",
            "qk_normalization": False,
            "qkv_bias": True,
            "use_flash_attn": True,
        },
    }


def write_tokenizer(folder: Path, words: Sequence[str] = WORDS) -> None:
    """Every mark of every chat as one word; each digit is one, as for Qwen."""
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)]
    )
    tokenizer.add_special_tokens([word for word in words if word.startswith("<")])
    fast: Any = PreTrainedTokenizerFast
    fast(tokenizer_object=tokenizer, unk_token="?").save_pretrained(folder)


def _save_as_on_the_hub(model: PreTrainedModel, folder: Path) -> None:
    """transformers writes the hub's names, but for one level that older versions had."""
    model.save_pretrained(folder)
    if model.config.model_type == "internvl":
        return
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


def _internvl(release: str) -> PretrainedConfig:
    """InternVL3 has no row to spare, and frequencies that would change beyond its context."""
    rope = {"rope_type": "default", "rope_theta": 1e6}
    text: dict[str, Any] = {**TEXT, "model_type": "qwen3", "head_dim": 12, "rope_parameters": rope}
    if release == "3":
        rope |= {"rope_type": "dynamic", "factor": 2.0}
        text = {**TEXT, "model_type": "qwen2", "rope_parameters": rope}
        text["vocab_size"] = len(INTERNVL_WORDS)
    return InternVLConfig(
        vision_config={**INTERNVL_VISION, "attention_bias": True},
        text_config={**text, "bos_token_id": None, "eos_token_id": 1},
        image_token_id=INTERNVL_WORDS.index("<IMG_CONTEXT>"),
    )
