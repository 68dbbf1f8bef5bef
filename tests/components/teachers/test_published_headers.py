"""What headers must say is what the published sizes have: no sound file is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from threedrs_components.teachers.da3.architecture import SIZES
from threedrs_components.teachers.da3.model import DA3
from threedrs_components.teachers.encoder_headers import refuse_other_shapes, sizes_of
from threedrs_components.teachers.pi3.architecture import PI3
from threedrs_components.teachers.pi3.checkpoint import TRUNK
from threedrs_components.teachers.pi3.model import Pi3
from threedrs_components.teachers.registry import teacher_config
from threedrs_components.teachers.trunk_tensors import da3_trunk, pi3_trunk, vggt_aggregator
from threedrs_components.teachers.vggt.architecture import VGGT_1B
from threedrs_components.teachers.vggt.model import VGGT
from threedrs_components.tensor_headers import StoredTensor

LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
SO400M = {
    "hidden_size": 1152, "num_hidden_layers": 27, "num_attention_heads": 16,
    "intermediate_size": 4304,
}  # fmt: skip
ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "dinov2": ("Dinov2", {**LARGE, "image_size": 518, "patch_size": 14}),
    "dinov2_reg": ("Dinov2WithRegisters", {**LARGE, "image_size": 518, "patch_size": 14}),
    "dinov3": ("DINOv3ViT", {**LARGE, "intermediate_size": 4096, "num_register_tokens": 4}),
    "mae": ("ViTMAE", {**LARGE, "intermediate_size": 4096}),
    "siglip2": (
        "Siglip",
        {
            "vision_config": {**SO400M, "patch_size": 14, "image_size": 224},
            "text_config": {**SO400M, "vocab_size": 256_000},
        },
    ),
}
"""Kind -> the model in transformers and its configuration, as the presets' checkpoints have it."""


def shapes(tensors: Mapping[str, Tensor], *starts: str) -> dict[str, tuple[int, ...]]:
    return {name: tuple(each.shape) for name, each in tensors.items() if name.startswith(starts)}


@pytest.mark.parametrize("kind", ENCODERS)
def test_published_encoders_fit_what_is_asked_of_their_headers(kind: str) -> None:
    name, settings = ENCODERS[kind]
    config = getattr(transformers, f"{name}Config")(**settings)
    model_class = "ViTMAEForPreTraining" if kind == "mae" else f"{name}Model"
    with torch.device("meta"):
        model: nn.Module = getattr(transformers, model_class)(config)
    file = Path("model.safetensors")
    tensors = {
        name: StoredTensor(file.name, "F32", shape)
        for name, shape in shapes(model.state_dict(), "").items()
    }
    encoder: Any = teacher_config(kind, "nowhere")
    parts, others = encoder.encoder.tensors, encoder.encoder.other_parts
    refuse_other_shapes(file, tensors, sizes_of(file, config.to_dict()), parts, others)


@pytest.mark.parametrize("size", SIZES)
def test_every_depth_anything_3_has_the_tensors_that_are_expected(size: str) -> None:
    with torch.device("meta"):
        trunk = DA3(SIZES[size]).backbone["pretrained"]
    assert shapes(trunk.state_dict(), "") == da3_trunk(SIZES[size].trunk)


def test_the_published_pi3_and_vggt_have_the_tensors_that_are_expected() -> None:
    with torch.device("meta"):
        pi3, aggregator = Pi3(PI3), VGGT(VGGT_1B).aggregator
    assert shapes(pi3.state_dict(), *TRUNK) == pi3_trunk(PI3)
    assert shapes(aggregator.state_dict(), "") == vggt_aggregator(VGGT_1B)
