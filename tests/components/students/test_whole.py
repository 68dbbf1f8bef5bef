"""Weights that do not load, or hold no numbers, are told in words before a GPU waits for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from threedrs_components.students.build import build_student
from threedrs_components.students.checkpoints import save_student
from threedrs_components.students.registry import AnyStudent
from threedrs_components.students.whole import check_whole
from threedrs_components.testing.student_checkpoints import LAYOUTS, publish
from threedrs_platform.errors import CheckpointError


def looked_at(config: AnyStudent) -> list[tuple[int, int]]:
    """What progress is told of."""
    seen: list[tuple[int, int]] = []
    assert config.checkpoint is not None
    check_whole(
        config, Path(config.checkpoint), lambda done, total, note: seen.append((done, total))
    )
    return seen


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_weight_of_sound_files_is_looked_at(layout: str, tmp_path: Path) -> None:
    config, published = publish(layout, tmp_path / "published")
    seen = looked_at(config)
    assert len(seen) == seen[-1][0] == seen[-1][1] >= len(published) - 1


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number_is_named(odd: float, tmp_path: Path) -> None:
    config, _ = publish("llava_onevision/llava-hf", tmp_path / "published")
    file = tmp_path / "published" / "model.safetensors"
    tensors = load_file(file)
    name = next(each for each in tensors if each.endswith("up_proj.weight"))
    tensors[name][3, 2] = odd
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"up_proj\.weight: 1 of \d+ weights are NaN or inf"):
        looked_at(config)


def test_a_student_of_ones_own_is_looked_at_as_well(tmp_path: Path) -> None:
    config, _ = publish("llava_onevision/llava-hf", tmp_path / "published")
    student = build_student(config)
    next(student.model.parameters()).data.view(-1)[0] = float("nan")
    save_student(student, tmp_path / "saved")
    with pytest.raises(CheckpointError, match=r"saved: .* weights are NaN"):
        looked_at(config.model_copy(update={"checkpoint": str(tmp_path / "saved")}))


def rewrite(folder: Path, path: str, value: Any) -> None:
    """Another value at a dotted place of config.json; it is taken away where that is DELETED."""
    file = folder / "config.json"
    content = json.loads(file.read_text())
    part, names = content, path.split(".")
    for name in names[:-1]:
        part = part[name]
    if value == DELETED:
        del part[names[-1]]
    else:
        part[names[-1]] = value
    file.write_text(json.dumps(content))


DELETED = "deleted"
ODD: dict[str, tuple[str, str, Any]] = {
    "no number": ("llava_video/lmms-lab", "num_hidden_layers", "x"),
    "layers without end": ("qwen2_vl/Qwen", "text_config.num_hidden_layers", 10**9),
    "memory without end": ("qwen2_vl/Qwen", "text_config.intermediate_size", 10**9),
    "no text_config: the 7B of transformers": ("llava_onevision/llava-hf", "text_config", DELETED),
    "a word where a flag belongs": ("llava_onevision/llava-hf", "multimodal_projector_bias", "x"),
    "a format that torch lacks": ("llava_onevision/llava-hf", "dtype", "x"),
    "padding outside": ("qwen3_vl/Qwen", "text_config.pad_token_id", 10**9),
    "another width": ("internvl/OpenGVLab", "llm_config.hidden_size", 7),
    "a width that is no number": ("internvl/OpenGVLab", "llm_config.hidden_size", "x"),
    "no tower": ("internvl/hf", "vision_config", DELETED),
}


@pytest.mark.parametrize("fault", ODD)
def test_a_config_that_contradicts_the_weights_is_refused(fault: str, tmp_path: Path) -> None:
    layout, path, value = ODD[fault]
    folder = tmp_path / "published"
    config, _ = publish(layout, folder)
    rewrite(folder, path, value)
    with pytest.raises(CheckpointError, match=str(folder)):
        looked_at(config)


def test_a_damaged_tokenizer_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "published"
    config, _ = publish("internvl/hf", folder)
    (folder / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(CheckpointError, match=str(folder)):
        looked_at(config)
