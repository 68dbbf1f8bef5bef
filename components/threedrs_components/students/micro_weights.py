"""Students of the real architectures in tiny widths, initialised so that they learn."""

from __future__ import annotations

import math

import torch
from torch import nn
from transformers import PreTrainedModel

from threedrs_components.students.settings import StudentSettings
from threedrs_components.students.student import Student
from threedrs_components.students.tokenizer import StudentTokenizer

EMBEDDING_STD = 0.5
PROJECTOR_GAIN = 1.2
BRANCH_GAIN = 0.5
"""Of the layers that write into the residual stream."""
BRANCH_OUTPUTS = ("o_proj", "down_proj", "out_proj", "fc2", "attn.proj")


def micro_model(
    architecture: type[Student], config: StudentSettings, tokenizer: StudentTokenizer, seed: int
) -> PreTrainedModel:
    """Build and initialise; the same seed gives the same weights."""
    model = architecture.model_class(architecture.micro_config(config.micro, tokenizer))
    generator = torch.Generator().manual_seed(seed)
    for name, module in model.named_modules():
        _initialise(name, module, generator)
    for name, module in model.named_modules():
        projects = architecture.part_of(f"model.{name}.weight") == "projector"
        if projects and isinstance(module, nn.Linear):
            _normal(module.weight, PROJECTOR_GAIN / math.sqrt(module.in_features), generator)
    newline = getattr(model.model, "image_newline", None)
    if newline is not None:
        _normal(newline, EMBEDDING_STD, generator)
    return model


def _initialise(name: str, module: nn.Module, generator: torch.Generator) -> None:
    """Fan-in deviations: the usual 0.02 is meant for widths in the thousands and stalls here."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.Conv3d):
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
