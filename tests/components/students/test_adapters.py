"""LoRA: nothing changes when it is put in, little learns, and nothing is left of it when saved."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from threedrs_components.students.adapters import add_adapters, merge_adapters
from threedrs_components.students.batches import stack_frames
from threedrs_components.students.registry import STUDENTS
from threedrs_components.students.settings import LoraSettings
from threedrs_components.students.student import Student
from threedrs_components.testing.synthetic import random_scene, random_student

SETTINGS = LoraSettings(rank=2, alpha=4, dropout=0.0)


def states(student: Student) -> torch.Tensor:
    frames = stack_frames([random_scene("a", 0)])
    with torch.no_grad():
        return student.prefill(frames).output.hidden[-1]


@pytest.mark.parametrize("kind", sorted(STUDENTS))
def test_adapters_start_as_nothing_and_are_merged_without_a_trace(kind: str) -> None:
    student = random_student(kind=kind).eval()
    names, before = set(student.state_dict()), states(student)
    add_adapters(student, SETTINGS)
    torch.testing.assert_close(states(student), before, rtol=0, atol=0)
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if "lora_B" in name or "trainable_tokens" in name:
                parameter.add_(0.1)
    adapted = states(student)
    row = student.embed(torch.tensor([student.tokenizer.ground_id]))
    assert not torch.allclose(adapted, before, atol=1e-3)
    merge_adapters(student)
    assert set(student.state_dict()) == names
    torch.testing.assert_close(states(student), adapted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(student.embed(torch.tensor([student.tokenizer.ground_id])), row)


def test_of_the_language_model_only_adapters_and_the_new_words_learn() -> None:
    student = random_student()
    add_adapters(student, SETTINGS)
    learns = {name for name, value in student.named_parameters() if value.requires_grad}
    language = {name for name in learns if student.part_of(name) == "language"}
    assert language
    assert all("lora_" in name or "trainable_tokens" in name for name in language)
    assert any(name.startswith("model.model.vision_tower") for name in learns)
    assert any(name.startswith("model.model.multi_modal_projector") for name in learns)
    assert any(name.startswith("grounding") for name in learns)


@pytest.mark.parametrize("targets", [(), ("q_proj", "w_pack")])
def test_layers_that_no_model_has_are_refused_before_anything_starts(targets: tuple[str]) -> None:
    with pytest.raises(ValidationError, match="targets"):
        LoraSettings.model_validate({"targets": targets})
