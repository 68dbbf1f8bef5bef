"""Students of published size with random weights, and the arithmetic that a pass of them takes."""

from __future__ import annotations

from dataclasses import replace

import torch

from threedrs_components.students.llava_video import LlavaVideoConfig
from threedrs_components.students.micro_weights import word_tokenizer
from threedrs_components.students.published_shapes import QWEN2_7B
from threedrs_components.students.shared_prefix import PrefixLayout
from threedrs_components.students.siglip_qwen2 import IMAGE_ID, VISUAL_ID, lmms_lab_config
from threedrs_components.students.student import Student
from threedrs_components.students.tokenizer import MICRO_CHAT
from threedrs_components.testing.synthetic import WORDS

PUBLISHED = {**QWEN2_7B, "max_position_embeddings": 32_768, "rms_norm_eps": 1e-6}


def random_7b_student(device: torch.device, dtype: torch.dtype = torch.bfloat16) -> Student:
    """A LLaVA-Video of 7B, made on the device in the number format; it knows few words."""
    config = LlavaVideoConfig(size="7b", checkpoint="random", gradient_checkpointing=True)
    chat = replace(MICRO_CHAT, newline=config.newline)
    words = word_tokenizer(["describe where is the a in .", *WORDS], chat)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            architecture = config.architecture()
            return architecture(
                config,
                architecture.model_class(lmms_lab_config(PUBLISHED, (VISUAL_ID, IMAGE_ID))),
                words,
            )
    finally:
        torch.set_default_dtype(before)


def vision_flops(student: Student, frames: int) -> float:
    """Of tower and projector, forwards."""
    vision = student.model.config.vision_config
    patches = (student.image_size // student.patch_size) ** 2
    parameters = [*student.parameters_of("vision"), *student.parameters_of("projector")]
    weights = sum(each.numel() for each in parameters)
    scores = 4.0 * int(vision.num_hidden_layers) * int(vision.hidden_size) * patches**2
    return frames * (2.0 * weights * patches + scores)


def language_flops(student: Student, layout: PrefixLayout, words: int = 0) -> float:
    """Of the language model, forwards.

    Args:
        student: any kind.
        layout: one prefix per scene, computed once.
        words: tokens whose vocabulary scores are computed.
    """
    vocabulary = int(student.model.config.text_config.vocab_size)
    layers = student.model.model.language_model.layers
    weights = int(sum(each.numel() for each in layers.parameters()))
    lengths = [length for scene in layout.lengths for length in scene]
    tokens = layout.scenes * layout.prefix + sum(lengths)
    pairs = layout.scenes * layout.prefix**2 / 2
    pairs += sum(length * (layout.prefix + length / 2) for length in lengths)
    scores = 4.0 * len(layers) * student.width * pairs
    return 2.0 * weights * tokens + scores + 2.0 * words * student.width * vocabulary


def separately(layout: PrefixLayout) -> PrefixLayout:
    """The same questions, each behind a prefix of its own."""
    return PrefixLayout(layout.prefix, tuple((n,) for scene in layout.lengths for n in scene))
