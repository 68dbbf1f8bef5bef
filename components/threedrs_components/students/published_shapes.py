"""Sizes of published language models and vision towers, as their configurations say them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Shape = Mapping[str, Any]

QWEN2_7B: Shape = {
    "vocab_size": 152_064,
    "hidden_size": 3584,
    "intermediate_size": 18_944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
}
VICUNA_7B: Shape = {
    "vocab_size": 32_064,
    "hidden_size": 4096,
    "intermediate_size": 11_008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
}
INTERNVL3_TEXT: Shape = {**QWEN2_7B, "vocab_size": 151_674}
INTERNVL3_5_TEXT: Shape = {
    "vocab_size": 151_936,
    "hidden_size": 4096,
    "intermediate_size": 12_288,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
}
INTERNVIT_300M: Shape = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "image_size": 448,
    "patch_size": 14,
}
SIGLIP: Shape = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 26,
    "image_size": 384,
    "patch_size": 14,
}
CLIP_LARGE: Shape = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "image_size": 336,
    "patch_size": 14,
}
QWEN3_2B: Shape = {
    "vocab_size": 151_936,
    "hidden_size": 2048,
    "intermediate_size": 6144,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": True,
}
QWEN3_4B: Shape = {
    **QWEN3_2B,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
}
QWEN3_8B: Shape = {
    **QWEN3_4B,
    "hidden_size": 4096,
    "intermediate_size": 12_288,
    "tie_word_embeddings": False,
}
QWEN2_VL_TOWER: Shape = {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4}
QWEN2_5_VL_TOWER: Shape = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420}
QWEN3_VL_TOWER: Shape = {
    "depth": 27,
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "patch_size": 16,
    "num_position_embeddings": 2304,
    "deepstack_visual_indexes": (8, 16, 24),
}
QWEN3_VL_SMALL_TOWER: Shape = {
    **QWEN3_VL_TOWER,
    "depth": 24,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "deepstack_visual_indexes": (5, 11, 17),
}
PUBLISHED: Mapping[str, tuple[Shape, Shape]] = {
    "llava_video": (QWEN2_7B, SIGLIP),
    "llava_onevision": (QWEN2_7B, SIGLIP),
    "qwen2_vl": (QWEN2_7B, QWEN2_VL_TOWER),
    "qwen2_5_vl": (QWEN2_7B, QWEN2_5_VL_TOWER),
    "qwen3_vl": (QWEN3_8B, QWEN3_VL_TOWER),
    "llava_next_video": (VICUNA_7B, CLIP_LARGE),
    "internvl": (INTERNVL3_TEXT, INTERNVIT_300M),
}
"""Sizes of the largest that each kind of student starts from: language model and vision tower."""
OTHERS: Mapping[tuple[str, str], tuple[Shape, Shape]] = {
    ("internvl", "3.5"): (INTERNVL3_5_TEXT, INTERNVIT_300M),
    ("qwen3_vl", "2b"): (QWEN3_2B, QWEN3_VL_SMALL_TOWER),
    ("qwen3_vl", "4b"): (QWEN3_4B, QWEN3_VL_SMALL_TOWER),
}
"""The same of other published weights, by kind and variant."""
