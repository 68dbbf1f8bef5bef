"""Counts of parameters are those of the transformers models, built on the meta device."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from threedrs_components.students.grounding_head import GroundingHead
from threedrs_components.students.published_shapes import QWEN2_7B, SIGLIP, VICUNA_7B
from threedrs_components.students.registry import STUDENTS
from threedrs_components.students.sizes import student_size

TOKENS: dict[str, Any] = {"image_token_id": 151655, "video_token_id": 151656}


def model(kind: str, **text: Any) -> Any:
    """The published model of a kind, without weights."""
    if kind in ("llava_video", "llava_onevision"):
        config: Any = transformers.LlavaOnevisionConfig(
            vision_config=transformers.SiglipVisionConfig(**SIGLIP, vision_use_head=False),
            text_config=transformers.Qwen2Config(**{**QWEN2_7B, **text}),
            tie_word_embeddings=text.get("tie_word_embeddings", False),
        )
        return transformers.LlavaOnevisionForConditionalGeneration(config)
    if kind == "llava_next_video":
        config = transformers.LlavaNextVideoConfig(
            text_config=transformers.LlamaConfig(**VICUNA_7B), tie_word_embeddings=False
        )
        return transformers.LlavaNextVideoForConditionalGeneration(config)
    if kind == "qwen2_vl":
        tower = {"depth": 32, "embed_dim": 1280, "hidden_size": 3584, "num_heads": 16}
        config = transformers.Qwen2VLConfig(text_config=dict(QWEN2_7B), vision_config=tower)
        config.tie_word_embeddings = config.text_config.tie_word_embeddings = False
        return transformers.Qwen2VLForConditionalGeneration(config)
    tower = {"depth": 32, "hidden_size": 1280, "out_hidden_size": 3584, "intermediate_size": 3420}
    config = transformers.Qwen2_5_VLConfig(text_config=dict(QWEN2_7B), vision_config=tower)
    config.tie_word_embeddings = config.text_config.tie_word_embeddings = False
    return transformers.Qwen2_5_VLForConditionalGeneration(config)


def parameters(module: Any) -> int:
    return sum(each.numel() for each in module.parameters())


@pytest.mark.parametrize(
    ("kind", "billions"),
    [
        ("llava_video", 8.03),
        ("llava_onevision", 8.03),
        ("qwen2_vl", 8.29),
        ("qwen2_5_vl", 8.29),
        ("llava_next_video", 7.06),
    ],
)
def test_published_students_have_as_many_parameters(kind: str, billions: float) -> None:
    with torch.device("meta"):
        expected = model(kind)
    size = student_size(STUDENTS.read({"kind": kind, "size": "7b", "checkpoint": "/absent"}))
    assert size is not None and "absent" in size.source
    assert size.parameters == parameters(expected)
    assert size.parameters / 1e9 == pytest.approx(billions, abs=0.005)
    assert size.text.parameters == parameters(expected.model.language_model) + parameters(
        expected.lm_head
    )


def test_a_checkpoint_tells_its_own_sizes(tmp_path: Path) -> None:
    half_a_billion = {
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151_936,
        "tie_word_embeddings": True,
    }
    stored = {"model_type": "llava_qwen", **half_a_billion}
    (tmp_path / "config.json").write_text(json.dumps(stored))
    with torch.device("meta"):
        expected = model("llava_video", **half_a_billion)
    student = STUDENTS.read({"kind": "llava_video", "size": "7b", "checkpoint": str(tmp_path)})
    size = student_size(student)
    assert size is not None and size.parameters == parameters(expected)


def test_the_grounding_head_has_as_many_parameters() -> None:
    student = STUDENTS.read({"kind": "llava_video", "size": "7b", "checkpoint": "/absent"})
    size = student_size(student)
    assert size is not None
    with torch.device("meta"):
        assert size.grounding_head == parameters(GroundingHead(3584))
