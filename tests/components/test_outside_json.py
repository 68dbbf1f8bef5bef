"""JSON beside weights is read in one place: whatever stands in it, the error names the file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from threedrs_components.outside_json import read_object
from threedrs_components.students.folder import is_student
from threedrs_components.students.sizes import student_size
from threedrs_components.students.start import check_start
from threedrs_components.students.tokenizer import StudentTokenizer
from threedrs_components.teachers.da3.checkpoint import head_layers
from threedrs_components.teachers.vggt.checkpoint import declared
from threedrs_components.tensor_headers import read_header
from threedrs_components.testing.student_checkpoints import publish
from threedrs_platform.errors import CheckpointError

DEEP = "[" * 100_000 + "]" * 100_000
RATHER_DEEP = "[" * 40 + "]" * 40


@pytest.mark.parametrize("deep", [DEEP, RATHER_DEEP])
@pytest.mark.parametrize("text", ["DEEP", '{"a": DEEP}', "[]", "", "\x00", '{"a": 1'])
def test_what_is_no_object_is_refused_with_its_name(text: str, deep: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(text.replace("DEEP", deep))
    with pytest.raises(CheckpointError, match=r"config\.json: cannot be read: .*; take the file"):
        read_object(path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"model_type": ["qwen3_vl"]}', r"model_type is \[\"qwen3_vl\"\], where a name belongs"),
        ('{"kind": "qwen3_vl", "student": null, "model": null}', "student is null, where an obj"),
        ('{"kind": ["x"], "student": {}, "model": {}}', r"kind is \[\"x\"\], where a name belongs"),
        ('{"model_type": "qwen3_vl", "text_config": null}', "text_config is null, where an object"),
        ('{"model_type": "qwen3_vl", "vision_config": 3}', "vision_config is 3, where an object"),
        ('{"model_type": DEEP}', "config.json: cannot be read: it is nested"),
    ],
)
def test_a_students_configuration_of_wrong_types_is_refused(
    content: str, told: str, tmp_path: Path
) -> None:
    config, _ = publish("qwen3_vl/Qwen", tmp_path / "weights")
    path = tmp_path / "weights" / "config.json"
    path.write_text(content.replace("DEEP", DEEP))
    with pytest.raises(CheckpointError, match=told):
        check_start(config, tmp_path / "weights")
    with pytest.raises(CheckpointError, match=told):
        is_student(tmp_path / "weights")
    student_size(config)  # is asked before starts are checked, and does not stumble


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"a": "x", "b": 3}, "weight_map has 3, where a file's name belongs"),
        ({"a": ["x"]}, r"weight_map has \[\"x\"\], where a file's name"),
        ({"a": "../x.safetensors"}, "weight_map has .*x.safetensors.*, where a file's name"),
        ({}, "weight_map names no file"),
        (["x"], "weight_map is .*, where an object belongs"),
    ],
)
def test_an_index_of_wrong_types_is_refused(files: object, told: str, tmp_path: Path) -> None:
    config, _ = publish("qwen3_vl/Qwen", tmp_path / "weights")
    index = tmp_path / "weights" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": files}))
    with pytest.raises(CheckpointError, match=rf"{index.name}: {told}"):
        check_start(config, tmp_path / "weights")


@pytest.mark.parametrize(
    "header",
    [
        '{"a": DEEP}',
        "[]",
        '{"a": {"dtype": 3, "shape": [], "data_offsets": [0, 0]}}',
        '{"a": {"dtype": "F32", "shape": ["x"], "data_offsets": [0, 0]}}',
        '{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 0]}}',
        '{"a": {"dtype": "F32", "shape": [], "data_offsets": ["x", "y"]}}',
    ],
)
def test_a_header_of_wrong_types_is_refused(header: str, tmp_path: Path) -> None:
    text = header.replace("DEEP", DEEP).encode()
    (tmp_path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: cannot be read"):
        read_header(tmp_path, "model.safetensors")


@pytest.mark.parametrize("content", ["[]", "DEEP", '{"config": 3}', '{"architecture": [3]}'])
@pytest.mark.parametrize("read", [lambda path: head_layers(path, 12), declared])
def test_teachers_configurations_of_wrong_types_are_refused(
    content: str, read: Callable[[Path], object], tmp_path: Path
) -> None:
    file = tmp_path / "config.json"
    file.write_text(content.replace("DEEP", DEEP))
    if "architecture" in content and read is not declared:
        assert read(tmp_path / "model.safetensors") == (5, 7, 9, 11)
    elif "config" in content and read is declared:
        assert read(tmp_path / "model.safetensors") == {}
    else:
        with pytest.raises(CheckpointError, match=r"config\.json: "):
            read(tmp_path / "model.safetensors")


@pytest.mark.parametrize("chat", ["{}", "[]", '{"chat": 3, "visual_id": 3}', '{"chat": DEEP}'])
def test_a_students_markup_of_wrong_types_is_refused(chat: str, tmp_path: Path) -> None:
    (tmp_path / "chat.json").write_text(chat.replace("DEEP", DEEP))
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"chat\.json"):
        StudentTokenizer.load(tmp_path)
