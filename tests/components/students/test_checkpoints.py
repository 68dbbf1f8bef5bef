"""A student on disk is the student in memory, and a wrong one is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from threedrs_components.students.checkpoints import (
    load_student,
    save_student,
    student_features,
    write_pretrained,
)
from threedrs_components.students.config import LlavaVideoConfig
from threedrs_components.students.registry import STUDENT_KINDS
from threedrs_components.testing.synthetic import random_scene, random_student
from threedrs_platform.errors import CheckpointError


def test_a_student_read_back_has_the_same_features_and_words(tmp_path: Path) -> None:
    student = random_student().eval()
    scene = random_scene("scene", 0)
    save_student(student, tmp_path)
    loaded = load_student(tmp_path)
    before = student_features(student, scene.frame_batch(), scene.coordinates, layer=-2)
    after = student_features(loaded, scene.frame_batch(), scene.coordinates, layer=-2)
    assert before.shape == (2, 4, 4, student.width)
    assert torch.equal(before, after)
    assert loaded.tokenizer.encode("red lamp", None) == student.tokenizer.encode("red lamp", None)


@pytest.mark.parametrize("kind", STUDENT_KINDS)
def test_transformers_loads_a_students_language_model(kind: str, tmp_path: Path) -> None:
    student = random_student(kind=kind)
    save_student(student, tmp_path / "student")
    write_pretrained(tmp_path / "student", tmp_path / "transformers")
    loaded, info = type(student.model).from_pretrained(
        tmp_path / "transformers", output_loading_info=True
    )
    assert not (info["missing_keys"] or info["unexpected_keys"] or info["mismatched_keys"])
    wanted = student.model.state_dict()
    assert loaded.state_dict().keys() == wanted.keys()
    assert all(torch.equal(value, wanted[name]) for name, value in loaded.state_dict().items())


def test_the_same_weights_give_the_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_student(random_student(seed=1), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["chat.json", "config.json", "model.safetensors", "tokenizer.json"]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_choices_can_change_on_loading_and_widths_cannot(tmp_path: Path) -> None:
    save_student(random_student(), tmp_path)
    config = LlavaVideoConfig(checkpoint=str(tmp_path), object_features="both", blind=True)
    student = config.build()
    assert student.config.object_features == "both"
    assert student.config.blind
    assert student.width == 48


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    save_student(random_student(), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors.pop("grounding.no_object")
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"grounding\.no_object"):
        load_student(tmp_path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    save_student(random_student(), tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_student(tmp_path)


def test_a_micro_student_without_a_start_says_where_to_get_one() -> None:
    with pytest.raises(CheckpointError, match="pretrain step"):
        LlavaVideoConfig().build()
