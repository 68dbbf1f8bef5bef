"""A word table that is the output table, too: one in files, memory, optimizers and adapters."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from threedrs_components.students.adapters import add_adapters, merge_adapters
from threedrs_components.students.build import build_student
from threedrs_components.students.checkpoints import save_student
from threedrs_components.students.registry import open_student
from threedrs_components.students.settings import LoraSettings
from threedrs_components.students.student import Student
from threedrs_components.testing.student_checkpoints import LAYOUTS, publish
from threedrs_components.testing.synthetic import task_objectives
from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.objective import TrainingModule
from threedrs_components.training.parameter_groups import parameter_groups
from threedrs_components.training.strategies import Replicated, World
from threedrs_platform.errors import CheckpointError

WEIGHTS = "model.safetensors"
KINDS = ["qwen2_vl/Qwen", "qwen3_vl/Qwen", "llava_onevision/llava-hf", "llava_onevision/lmms-lab"]
"""Layouts of kinds that are published with one table in their smaller sizes."""


def tables(student: Student) -> tuple[nn.Parameter, nn.Parameter]:
    """Of words in and out."""
    ends: Any = student.model
    return ends.get_input_embeddings().weight, ends.get_output_embeddings().weight


def is_tied(student: Student) -> bool:
    words, output = tables(student)
    return words is output


def second_table(tensors: dict[str, Tensor], change: Callable[[Tensor], Tensor]) -> None:
    words = next(name for name in tensors if name.endswith("embed_tokens.weight"))
    tensors["lm_head.weight"] = change(tensors[words])


@pytest.mark.parametrize("layout", KINDS)
@pytest.mark.parametrize("tied", [True, False])
def test_what_files_hold_decides_and_survives_being_saved(
    layout: str, tied: bool, tmp_path: Path
) -> None:
    """Trainers write both; where they differ, both were trained, whatever config.json says."""
    config, _ = publish(layout, tmp_path / "weights", tied=True)
    tensors = load_file(tmp_path / "weights" / WEIGHTS)
    second_table(tensors, torch.clone if tied else torch.randn_like)
    save_file(tensors, tmp_path / "weights" / WEIGHTS, {"format": "pt"})
    student = build_student(config)
    assert is_tied(student) == tied
    save_student(student, tmp_path / "saved")
    assert ("model.lm_head.weight" in load_file(tmp_path / "saved" / WEIGHTS)) != tied
    again = open_student(tmp_path / "saved")
    assert is_tied(again) == tied
    assert all(torch.equal(*pair) for pair in zip(tables(again), tables(student), strict=True))


def without(*parts: str) -> Callable[[dict[str, Any]], None]:
    def change(config: dict[str, Any]) -> None:
        for part in parts:
            (config[part] if part else config).pop("tie_word_embeddings", None)

    return change


def test_a_part_of_the_configuration_may_say_it_alone(tmp_path: Path) -> None:
    config, _ = publish("qwen3_vl/Qwen", tmp_path / "weights", tied=True)
    path = tmp_path / "weights/config.json"
    stored = json.loads(path.read_text())
    without("")(stored)
    path.write_text(json.dumps(stored))
    assert is_tied(build_student(config))
    without("text_config")(stored)
    path.write_text(json.dumps(stored))
    with pytest.raises(CheckpointError, match=r"lm_head\.weight.*say tie_word_embeddings: true"):
        build_student(config)


@pytest.mark.parametrize("layout", ["qwen2_vl/Qwen", "qwen3_vl/Qwen"])
def test_one_table_learns_once_and_both_ends_move(layout: str, tmp_path: Path) -> None:
    config, _ = publish(layout, tmp_path / "weights", tied=True)
    student = build_student(config).train()
    module = TrainingModule(student, task_objectives(student))
    training = TrainingConfig(learning_rate=1e-2)
    groups = parameter_groups(module, training)
    words, output = tables(student)
    held = [each for group in groups for each in group.parameters]
    assert sum(each is words for each in held) == 1
    assert len(held) == len({id(each) for each in held})
    strategy = Replicated(module, groups, training, World())
    before = words.detach().clone()
    states = student.embed(torch.tensor([7, 8]))
    torch.autograd.backward(student.logits(states).logsumexp(-1).sum())
    strategy.update(1.0)
    assert tables(student) == (words, output) and words is output
    assert not torch.equal(words, before)
    strategy.save(tmp_path)
    words.data.zero_()
    strategy.load(tmp_path)
    assert is_tied(student) and words.abs().sum() > 0


@pytest.mark.parametrize("layout", LAYOUTS)
def test_adapters_leave_one_table(layout: str, tmp_path: Path) -> None:
    config, _ = publish(layout, tmp_path / "weights", tied=True)
    student = build_student(config).eval()
    names, new = set(student.state_dict()), torch.tensor([student.tokenizer.ground_id])
    add_adapters(student, LoraSettings(rank=2, alpha=4))
    with torch.no_grad():
        before = student.embed(new)
        for name, parameter in student.named_parameters():
            if "trainable_tokens" in name:
                parameter.add_(0.1)
        learned, states = student.embed(new), torch.ones(1, student.width)
        scores = student.logits(states)
    assert not torch.allclose(learned, before)
    merge_adapters(student)
    assert is_tied(student) and set(student.state_dict()) == names
    with torch.no_grad():
        torch.testing.assert_close(student.embed(new), learned)
        torch.testing.assert_close(student.logits(states), scores, rtol=1e-4, atol=1e-5)
