"""Students of the real architectures in tiny widths, initialised so that they learn."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from threedrs_components.students.settings import MicroWidths, StudentSettings
from threedrs_components.students.student import Student
from threedrs_components.students.tokenizer import (
    COORD,
    GROUND,
    IMAGE,
    VISUAL,
    ChatMarkup,
    StudentTokenizer,
)

MAX_POSITIONS = 4096
MICRO_FRAMES = 64
"""Frames whose numbers are words."""
POSITION_TABLE = "embeddings.position_embeddings"
"""End of the name of a tower's table where it is no embedding module; transformers begins at 0."""
PADDING, UNKNOWN = "<pad>", "<unk>"
EMBEDDING_STD = 0.5
PROJECTOR_GAIN = 1.2
"""Of the projector's layers; a gain of 1 keeps the deviation of what goes in."""
BRANCH_GAIN = 0.5
"""Of the layers that write into the residual stream."""
BRANCH_OUTPUTS = ("o_proj", "down_proj", "out_proj", "fc2", "attn.proj", "projection_layer")
"""Ends of those layers' names."""


def micro_student(config: StudentSettings, texts: Iterable[str], seed: int) -> Student:
    """A student with random weights that knows the words of the texts.

    The seed decides the weights of all layers and tables. Grounding head and CLIP's class token are
    drawn from torch's own generator: call this inside `seeded`.
    """
    architecture = config.architecture()
    tokenizer = word_tokenizer(texts, architecture.micro_markup(config))
    model = micro_model(architecture, config.micro, tokenizer, seed)
    return architecture(config, model, tokenizer)


def micro_model(
    architecture: type[Student], widths: MicroWidths, tokenizer: StudentTokenizer, seed: int
) -> PreTrainedModel:
    """A language model of an architecture with initial weights for its tiny widths."""
    model = architecture.model_class(micro_config(architecture, widths, tokenizer))
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
    for name, parameter in model.named_parameters():
        if name.endswith(POSITION_TABLE):
            _normal(parameter, EMBEDDING_STD, generator)
    return model


def micro_config(
    architecture: type[Student], widths: MicroWidths, tokenizer: StudentTokenizer
) -> PretrainedConfig:
    """The transformers configuration of a micro student."""
    own = architecture.micro_fields(widths, tokenizer)
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": widths.width,
        "intermediate_size": widths.ff,
        "num_hidden_layers": widths.layers,
        "num_attention_heads": widths.heads,
        "num_key_value_heads": widths.key_value_heads,
        "max_position_embeddings": MAX_POSITIONS,
        "bos_token_id": None,
        "eos_token_id": tokenizer.end_id,
        **own["text_config"],
    }
    config_class: Any = architecture.model_class.config_class
    config: PretrainedConfig = config_class(
        **{**own, "text_config": text}, tie_word_embeddings=False
    )
    return config


def word_tokenizer(texts: Iterable[str], chat: ChatMarkup) -> StudentTokenizer:
    """A tokenizer whose vocabulary is every word and punctuation mark of the texts, lower-cased.

    Args:
        texts: to take words from.
        chat: markup, each piece of it one token.
    """
    normalizer = normalizers.Lowercase()
    splitter = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\s+"), "removed"),
            pre_tokenizers.Split(Regex(r"[^\w\s]"), "isolated"),
        ]
    )
    special = [PADDING, UNKNOWN, VISUAL, IMAGE, GROUND, COORD]
    special += [chat.header, chat.reply, chat.end]
    special += re.findall(r"<[^>]+>", chat.frame_start + chat.frame_end)
    if chat.numbers_frames:
        texts = [*texts, *map(chat.before, range(MICRO_FRAMES))]
    markup = re.compile("|".join(re.escape(token) for token in special))
    words = {
        word
        for text in texts
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(markup.sub(" ", text)))
    }
    vocabulary = {token: index for index, token in enumerate([*special, *sorted(words)])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    tokenizer.add_special_tokens(special)
    return StudentTokenizer(tokenizer, chat)


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
