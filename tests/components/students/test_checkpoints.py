"""A student on disk is the student in memory, and a wrong one is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from threedrs_components.students.build import build_student
from threedrs_components.students.checkpoints import save_student
from threedrs_components.students.llava_video import LlavaVideoConfig
from threedrs_components.students.registry import open_student
from threedrs_components.testing.synthetic import random_student
from threedrs_platform.errors import CheckpointError


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
    student = build_student(config)
    assert student.config.object_features == "both"
    assert student.config.blind
    assert student.width == 48


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    save_student(random_student(), tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors.pop("grounding.no_object")
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"grounding\.no_object"):
        open_student(tmp_path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    save_student(random_student(), tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="cannot be read"):
        open_student(tmp_path)


def test_a_micro_student_without_a_start_says_where_to_get_one() -> None:
    with pytest.raises(CheckpointError, match="pretrain step"):
        build_student(LlavaVideoConfig())


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"model_type": "qwen3_vl"}, "published weights of model type 'qwen3_vl'"),
        ({}, "no student"),
    ],
)
def test_published_weights_are_told_how_to_be_opened(
    config: dict[str, str], what: str, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=rf"{what}, .*load_student\(folder, preset=\.\.\.\)"):
        open_student(tmp_path)
