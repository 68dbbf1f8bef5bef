"""Tiny checkpoints as the released code of 3DRS, Video-3D-LLM and Ross3D saves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer
from torch import Tensor

from threedrs_components.students.lmms_lab import HEAD_TENSORS
from threedrs_components.students.registry import STUDENTS, AnyStudent
from threedrs_components.students.tokenizer import COORD, GROUND, IMAGE
from threedrs_components.testing.student_checkpoints import STORED, TEXT, WORDS, publish

Method = Literal["3DRS", "Video-3D LLM", "Ross3D"]
WEIGHTS = "model.safetensors"
WIDTH = TEXT["hidden_size"]
GROUND_ID = len(WORDS) + 1
"""Behind the words and `<image>`; `<coord>` follows, and is the last row."""
CONFIG: dict[str, Any] = {
    **STORED,
    # What was there before the tables were cut stays in the file.
    "vocab_size": 64,
    "mm_newline_position": "grid",
    "mm_spatial_pool_stride": 2,
    "mm_spatial_pool_mode": "bilinear",
    "mm_patch_merge_type": "spatial_unpad",
    "mm_projector_type": "mlp2x_gelu",
    "mm_vision_tower": "google/siglip-so400m-patch14-384",
    "mm_vision_select_layer": -2,
    "world_position_embedding_type": "avg-discrete-sin3d",
    "voxel_size": 0.1,
    "min_xyz_range": [-15, -15, -5],
    "max_xyz_range": [15, 15, 5],
    "object_feature_type": "patch14-pe",
    "ground_head_type": "infonce",
    "ground_head_temperature": 0.07,
    "ground_token_ids": [GROUND_ID],
    "coord_token_ids": [GROUND_ID + 1],
}
LEFTOVERS: dict[Method, dict[str, tuple[int, ...]]] = {
    "3DRS": {
        "model.proj_3d.0.weight": (2 * WIDTH, WIDTH),
        "model.proj_3d.2.bias": (20,),
        "model.corres_linear.weight": (WIDTH, WIDTH),
        "model.linear_dc.weight": (4, WIDTH),
        "model.geometric_linear.weight": (5, 8),
    },
    "Video-3D LLM": {},
    "Ross3D": {
        "model.mask_token": (WIDTH,),
        "model.mm_inv_projector.net.pos_embed_view": (1, 16, 8),
        "model.mm_pixel_decoder.pixel_decoder.decoder.conv_in.bias": (4,),
    },
}
"""What each of them saves beside the model and its head."""


def publish_released(method: Method, folder: Path) -> tuple[AnyStudent, dict[str, Tensor]]:
    """Write a checkpoint; a student that reads it, and the tensors as they are stored."""
    publish("llava_video/lmms-lab", folder)
    tensors = load_file(folder / WEIGHTS)
    for table in ("model.embed_tokens.weight", "lm_head.weight"):
        tensors[table] = tensors[table][: GROUND_ID + 2].clone()
    for name in HEAD_TENSORS:
        tensors[name] = torch.randn(WIDTH, WIDTH) if _is_matrix(name) else torch.randn(WIDTH)
    for name, shape in LEFTOVERS[method].items():
        tensors[name] = torch.randn(shape)
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    model_type = "ross3d_qwen" if method == "Ross3D" else "llava_qwen"
    (folder / "config.json").write_text(json.dumps({**CONFIG, "model_type": model_type}))
    _add_words(folder)
    return released_student(method, folder), tensors


def released_student(method: Method, folder: Path) -> AnyStudent:
    """The settings that these weights were trained with."""
    return STUDENTS.read(
        {
            "kind": "llava_video",
            "size": "7b",
            "checkpoint": str(folder),
            "method": method,
            "position_encoding": True,
            "coord_input": "encoding",
            "object_features": "both" if method == "3DRS" else "vision",
            "object_membership": "released",
        }
    )


def _is_matrix(name: str) -> bool:
    """The third of a projection's modules is a LayerNorm."""
    return name.endswith((".0.weight", ".3.weight"))


def _add_words(folder: Path) -> None:
    """`<image>` is special, the two that were added for 3D are not."""
    path = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_special_tokens([IMAGE])
    tokenizer.add_tokens([AddedToken(word, special=False) for word in (GROUND, COORD)])
    tokenizer.save(str(path))
