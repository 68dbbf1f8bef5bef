"""A LLaVA-Video of the real architecture and tiny widths, initialised so that it learns."""

from __future__ import annotations

import math

import torch
from torch import nn
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
)

from threedrs_components.students.config import MicroWidths
from threedrs_components.students.tokenizer import IMAGE, StudentTokenizer

EMBEDDING_STD = 0.5
PROJECTOR_GAIN = 1.2
BRANCH_GAIN = 0.5
"""Of the layers that write into the residual stream."""
BRANCH_OUTPUTS = ("o_proj", "down_proj", "out_proj", "fc2")
MAX_POSITIONS = 4096


def micro_model(
    widths: MicroWidths, tokenizer: StudentTokenizer, seed: int
) -> LlavaOnevisionForConditionalGeneration:
    """Build and initialise; the same seed gives the same weights."""
    model = LlavaOnevisionForConditionalGeneration(micro_model_config(widths, tokenizer))
    generator = torch.Generator().manual_seed(seed)
    for name, module in model.named_modules():
        _initialise(name, module, generator)
    projector = model.model.multi_modal_projector
    for layer in (projector.linear_1, projector.linear_2):
        _normal(layer.weight, PROJECTOR_GAIN / math.sqrt(layer.in_features), generator)
    _normal(model.model.image_newline, EMBEDDING_STD, generator)
    return model


def micro_model_config(widths: MicroWidths, tokenizer: StudentTokenizer) -> LlavaOnevisionConfig:
    """The transformers configuration of a micro student."""
    vision = SiglipVisionConfig(
        hidden_size=widths.vision_width,
        intermediate_size=widths.vision_ff,
        num_hidden_layers=widths.vision_layers,
        num_attention_heads=widths.vision_heads,
        image_size=widths.image_size,
        patch_size=widths.patch_size,
        vision_use_head=False,
    )
    text = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=widths.width,
        intermediate_size=widths.ff,
        num_hidden_layers=widths.layers,
        num_attention_heads=widths.heads,
        num_key_value_heads=widths.key_value_heads,
        max_position_embeddings=MAX_POSITIONS,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=tokenizer.end_id,
    )
    return LlavaOnevisionConfig(
        vision_config=vision,
        text_config=text,
        video_token_index=tokenizer.visual_id,
        image_token_index=tokenizer.token_id(IMAGE),
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=False,
    )


def _initialise(name: str, module: nn.Module, generator: torch.Generator) -> None:
    """Fan-in deviations: the usual 0.02 is meant for widths in the thousands and stalls here."""
    if isinstance(module, nn.Linear | nn.Conv2d):
        fan_in = module.weight[0].numel()
        gain = BRANCH_GAIN if name.endswith(BRANCH_OUTPUTS) else 1.0
        _normal(module.weight, gain / math.sqrt(fan_in), generator)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        _normal(module.weight, EMBEDDING_STD, generator)


def _normal(parameter: torch.Tensor, deviation: float, generator: torch.Generator) -> None:
    with torch.no_grad():
        parameter.normal_(0.0, deviation, generator=generator)
