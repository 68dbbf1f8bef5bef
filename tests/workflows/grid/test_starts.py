"""A checkpoint that does not fit is found when a grid is read, not when a step runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from threedrs_components.teachers.registry import TEACHERS
from threedrs_components.testing.released_checkpoints import publish_released
from threedrs_components.testing.student_checkpoints import publish
from threedrs_components.testing.teacher_checkpoints import View, write_tiny_checkpoint
from threedrs_workflows.cli import main

WEIGHTS = "Video3D-LLM-LLaVA-Qwen-Uniform-32"
OF_QWEN2 = (
    ", student: qwen2_vl, prepare.image_size: 392, prepare.covered: null, prepare.patch_grid: null"
)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    publish_released("Video-3D LLM", tmp_path / "data/models" / WEIGHTS)
    return tmp_path / "data"


def grid(data: Path, *, preset: str = "video_3d_llm", more: str = "") -> str:
    path = data / "grid.yaml"
    path.write_text(
        f"version: 1\nname: x\nenv: {{DATA: {data}}}\nbase: {{preset: {preset}{more}}}\n"
    )
    return str(path)


@pytest.mark.parametrize("verb", ["validate", "plan", "submit"])
def test_every_verb_that_reads_a_grid_reads_the_headers(
    verb: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = data / "models" / WEIGHTS / "config.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "mm_spatial_pool_mode": "average"}))
    workspace = ["--workspace", str(data / "workspace")]
    assert main([verb, grid(data), *workspace]) == 2
    told = capsys.readouterr().err
    assert "students.video_3d_llm.checkpoint" in told
    assert "mm_spatial_pool_mode is 'average'" in told


def test_weights_that_fit_are_not_told_of(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", grid(data)]) == 0
    assert main(["validate", grid(data, more=", students.video_3d_llm.object_features: llm")]) == 2
    assert "object_features: vision" in capsys.readouterr().err


def test_what_nothing_trains_must_have_its_head(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish("llava_video/lmms-lab", data / "models/LLaVA-Video-7B-Qwen2")
    start = {"preset": "as_released", "more": ", training.steps: 0"}
    assert main(["validate", grid(data, **start)]) == 2
    assert "has no grounding head, and nothing trains one" in capsys.readouterr().err
    start["more"] += ", benchmarks.names: [scan2cap, scanqa]"
    assert main(["validate", grid(data, **start)]) == 0


def teacher_grid(data: Path, fields: str) -> str:
    more = f", teacher: mine, teachers.mine: {{{fields}}}, benchmarks.names: [scanqa]"
    more += ", teacher_pretraining.mine: {}" if "checkpoint" not in fields else ""
    return grid(data, preset="as_released", more=more)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ("kind: da3, checkpoint: nowhere, image_size: 182", "finer than the teacher's 10"),
        ("kind: da3, checkpoint: nowhere, image_size: 200", "mine.image_size: 200 is no multiple"),
        ("kind: dinov2, checkpoint: DINO, image_size: 112", "finer than the teacher's 8"),
        ("kind: dinov2, checkpoint: DINO, image_size: 200", "mine.image_size: 200 is no multiple"),
        ("kind: mae, architecture: {image_size: 96}", "finer than the teacher's 12"),
        ("kind: vggt, architecture: {image_size: 208}", "finer than the teacher's 10"),
        ("kind: vggt, checkpoint: VGGT", "prepare.grid: 14 is finer than the teacher's 3"),
        ("kind: pi3, checkpoint: PI3, pixels: 20000", "finer than the teacher's 8"),
        (
            "kind: da3, checkpoint: nowhere, framing: squash, image_size: 182",
            "finer than the teacher's 13",
        ),
        ("kind: da3, checkpoint: nowhere, image_size: 238", "counted for frames of 4:3"),
        ("kind: dinov3, checkpoint: THREE, image_size: 208", "finer than the teacher's 13"),
        ("kind: dinov3, checkpoint: THREE, image_size: 518", "mine.image_size: 518 is no multiple"),
        (
            "kind: pi3, checkpoint: VGGT",
            "a checkpoint of VGGT (kind: vggt), for it has 'aggregator",
        ),
        (
            "kind: dinov3, checkpoint: DINO",
            "model type 'dinov2'; teacher dinov3 reads 'dinov3_vit'",
        ),
        (
            "kind: dinov2, checkpoint: THREE",
            "model type 'dinov3_vit'; teacher dinov2 reads 'dinov2': take facebook/dinov2-large",
        ),
        (
            "kind: mae, checkpoint: THREE",
            "model type 'dinov3_vit'; teacher mae reads 'vit_mae': take facebook/vit-mae-large",
        ),
    ],
)
def test_a_teacher_that_is_coarser_than_the_tokens_is_told_of(
    fields: str, complaint: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind, word, view in (
        ("dinov2", "DINO", View(224, 14)),
        ("dinov3", "THREE", View(224, 16)),
        ("vggt", "VGGT", View(32, 8)),
        ("pi3", "PI3", View(140, 14)),
    ):
        if word in fields:
            path = write_tiny_checkpoint(kind, tmp_path / kind, view=view)
            fields = fields.replace(word, str(path))
    assert main(["validate", teacher_grid(data, fields)]) == 2
    assert complaint in capsys.readouterr().err


def test_a_teacher_is_as_fine_as_the_frames_that_are_here_let_it_be(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    room = data / "rooms" / "room" / "color"
    room.mkdir(parents=True)
    taught = teacher_grid(data, "kind: da3, checkpoint: nowhere, image_size: 224")
    scenes = f"scenes: {{kind: rgbd_folder, root: {data / 'rooms'}}}, alignment.frames: student"
    Path(taught).write_text(Path(taught).read_text().replace("[scanqa]", f"[scanqa], {scenes}"))
    Image.new("RGB", (20, 20)).save(room / "0.png")
    assert main(["validate", taught]) == 0
    Image.new("RGB", (32, 18)).save(room / "0.png")
    assert main(["validate", taught]) == 2
    assert "finer than the teacher's 9, " in (told := capsys.readouterr().err)
    assert "counted for frames of 16:9" in told


def test_stored_features_that_are_coarser_than_the_tokens_are_told_of(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features = data / "features"
    features.mkdir()
    np.savez(features / "scene.npz", feature=np.zeros((3, 4, 8), np.float16))
    taught = teacher_grid(data, f"kind: precomputed, checkpoint: {features}")
    assert main(["validate", taught]) == 2
    assert "prepare.grid: 14 is finer than the teacher's 2" in capsys.readouterr().err
    np.savez(features / "scene.npz", feature=np.zeros((3, 5, 8), np.float16))
    assert main(["validate", taught]) == 2
    told = capsys.readouterr().err
    assert "teachers.mine.checkpoint" in told and "scene.npz: 5 tokens per frame" in told


@pytest.mark.parametrize(("kind", "head"), [("vggt", "depth_head."), ("pi3", "conf_head.")])
def test_weights_without_the_head_of_depth_are_told_of_where_it_is_read(
    kind: str, head: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_tiny_checkpoint(kind, tmp_path / kind, view=View(224, 8))
    tensors = load_file(path)
    depth = "alignment.frames: student, depth.weight: 1.0, depth.source: teacher"
    fields = f"kind: {kind}, checkpoint: {path}" + ", pixels: 250000" * (kind == "pi3")
    taught = teacher_grid(data, fields)
    with_depth = (
        Path(taught).read_text().replace("preset: as_released", f"preset: as_released, {depth}")
    )
    Path(taught).write_text(with_depth)
    assert main(["validate", taught]) == 0, capsys.readouterr().err
    save_file({name: each for name, each in tensors.items() if not name.startswith(head)}, path)
    assert main(["validate", taught]) == 2
    told = capsys.readouterr().err
    assert "teachers.mine.checkpoint" in told and f"has no {head}*" in told
    assert "set depth.source: sensor" in told
    Path(taught).write_text(with_depth.replace(depth, "depth.weight: 0.0"))
    assert main(["validate", taught]) == 0


def test_a_teacher_of_another_model_is_told_of_before_anything_runs(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nested = tmp_path / "model.safetensors"
    save_file({"model.da3.backbone.pretrained.cls_token": torch.zeros(1)}, nested)
    assert main(["validate", teacher_grid(data, f"kind: da3, checkpoint: {nested}")]) == 2
    told = capsys.readouterr().err
    assert "teachers.mine.checkpoint" in told
    assert "a nested Depth Anything 3 (DA3NESTED-*)" in told
    path = write_tiny_checkpoint("da3", tmp_path / "da3")
    assert main(["validate", teacher_grid(data, f"kind: da3, checkpoint: {path}")]) == 0


@pytest.mark.parametrize(
    ("preset", "kind", "name", "more", "given"),
    [
        ("qwen3_vl", "qwen3_vl", "Qwen3-VL-8B-Instruct", "", "qwen2_vl"),
        ("as_released", "qwen2_vl", "Qwen2-VL-7B-Instruct", OF_QWEN2, "qwen3_vl"),
    ],
)
def test_weights_of_another_kind_name_theirs(
    preset: str,
    kind: str,
    name: str,
    more: str,
    given: str,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    publish(f"{given}/Qwen", data / "models" / name)
    assert main(["validate", grid(data, preset=preset, more=more)]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert f"model_type is '{given}'; expected '{kind}'" in told
    assert f"; for these weights set students.{kind}.kind: {given}" in told


def test_reading_headers_needs_no_torch(data: Path, tmp_path: Path) -> None:
    publish("llava_video/lmms-lab", data / "models/LLaVA-Video-7B-Qwen2")
    path = write_tiny_checkpoint("da3", tmp_path / "da3")
    taught = teacher_grid(data, f"kind: da3, checkpoint: {path}")
    code = (
        "import sys\n"
        "from threedrs_workflows.cli import main\n"
        f"assert main(['validate', {taught!r}]) == 0\n"
        "assert 'threedrs_components.teachers.da3.checkpoint' in sys.modules\n"
        "assert 'threedrs_components.students.weight_files' in sys.modules\n"
        "assert not {'torch', 'safetensors', 'transformers'} & sys.modules.keys()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_conversations_that_cannot_be_learned_are_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked, told = ({"from": who, "value": "<image>"} for who in ("human", "bot"))
    own, media = tmp_path / "own.jsonl", tmp_path / "media"
    media.mkdir()
    own.write_text(json.dumps({"conversations": [asked, told], "images": ["a.jpg"]}))
    path = tmp_path / "grid.yaml"
    path.write_text(
        f"version: 1\nname: x\nbase:\n  preset: vsi\n  scenes.root: {media}\n"
        "  scenes.spar: null\n  scenes.llava_hound: null\n  scenes.on_bad_record: refuse\n"
        f"  scenes.conversations: {{records: {own}, media: {media}}}\n"
        "  benchmarks.training: [conversations]\n"
    )
    assert main(["validate", str(path)]) == 2
    assert (
        f"scenes.conversations.records: {own}: line 1: conversations.1.from: Input should be "
        "'human', 'gpt' or 'system', not 'bot'"
    ) in capsys.readouterr().err
    assert main(["plan", str(path), "--workspace", str(tmp_path / "workspace")]) == 0
    own.unlink()  # where no data is, a grid can be planned all the same
    assert main(["plan", str(path), "--workspace", str(tmp_path / "workspace")]) == 0
    capsys.readouterr()
    assert main(["validate", str(path)]) == 2
    assert f"scenes.conversations.records: {own}: no such file" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [kind for kind, each in TEACHERS.items() if each.weights])
def test_a_text_in_the_place_of_a_teachers_weights_is_told_of(
    kind: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "model.pth"
    page.write_text("<html>404: not found</html>\n" * 9)
    assert main(["validate", teacher_grid(data, f"kind: {kind}, checkpoint: {page}")]) == 2
    told = capsys.readouterr().err
    assert "teachers.mine.checkpoint" in told and "is no checkpoint" in told


@pytest.mark.parametrize("flags", [(), ("--smoke",), ("--set", "training.steps=3")])
def test_own_rooms_on_a_preset_without_weights_are_refused_in_one_line(
    flags: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "grid.yaml"
    scenes = "{kind: rgbd_folder, root: rooms}"
    path.write_text(f"version: 1\nname: x\nbase: {{preset: micro, scenes: {scenes}}}\n")
    assert main(["validate", str(path), *flags]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "grid.yaml:3:38: scenes.kind: student 'llava' has no weights" in line
    assert "`workflows init rooms --scenes DIR`" in line


@pytest.mark.parametrize("setting", ["scenes.kind: [rgbd_folder]", "student: [llava]"])
def test_what_is_no_name_is_a_fault_and_no_bug(
    setting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(f"version: 1\nname: x\nbase: {{preset: micro, {setting}}}\n")
    assert main(["validate", str(path)]) == 2
    assert "internal error" not in capsys.readouterr().err


def test_own_rooms_on_an_axis_are_refused_in_one_line_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "grid.yaml"
    axis = "{scenes: [{kind: rgbd_folder, root: rooms}]}"
    path.write_text(f"version: 1\nname: x\nbase: {{preset: micro}}\nmatrix: {axis}\n")
    assert main(["validate", str(path)]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "grid.yaml:4:" in line and "student 'llava' has no weights" in line


def test_a_teacher_without_weights_cannot_learn_from_own_rooms(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", teacher_grid(data, "kind: mae, architecture: {image_size: 224}")]) == 2
    assert "teacher 'mine' has no weights" in capsys.readouterr().err
