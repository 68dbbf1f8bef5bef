"""The presets of one GPU, executed as they say: tiny files all the way, and one step of 0.5B."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from threedrs_components.testing import student_checkpoints
from threedrs_components.testing.released_files import write_data
from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.config.tree import put_in
from threedrs_platform.fake_gpus import FAKE_GPUS
from threedrs_platform.identity.file_digests import FileDigests
from threedrs_platform.steps import StepSpec
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.grid.cells import expand
from threedrs_workflows.testing.cell_steps import cell_steps
from threedrs_workflows.testing.one_cell import OneCell

GPUS = {"extract": 1, "finetune": 1, "probe": 1, "predict": 1}
SMALL: dict[str, Any] = {
    "teacher": "vggt",
    "scenes.num_frames": 2,
    "prepare.num_frames": 2,
    "training.steps": 2,
    "probe.folds": 2,
    "benchmarks.max_new_tokens": 2,
}
QWEN2_500M = {
    "vocab_size": 151_936,
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
}
"""Layers and widths of Qwen2-0.5B, 494 M parameters with its one table."""


def steps_of(preset: str, data: Path, changes: dict[str, Any]) -> dict[str, StepSpec]:
    text = f"version: 1\nname: x\nenv: {{DATA: {data}}}\nbase: {{preset: {preset}}}\n"
    tree = expand(load_document(text)).base.model_dump(mode="json")
    experiment = Experiment.model_validate(put_in(tree, (), {**SMALL, **changes}))
    training = experiment.training
    assert training.workers == 1 and training.rounds(1) == training.scenes_per_step > 1
    return cell_steps(experiment, 1, FileDigests())


@pytest.mark.ranks
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("preset", ["one_gpu_80g", "one_gpu_24g"])
def test_tiny_files_go_all_the_way(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FAKE_GPUS, "1")
    write_data(tmp_path / "data")
    steps, cell = steps_of(preset, tmp_path / "data", {}), OneCell(tmp_path / "cell", GPUS)
    for step in steps.values():
        cell.run(step)
    assert {"scanrefer/acc@0.25", "scanqa/em@1", "probe/score", "training/loss"} <= cell.measured
    weights = load_file(cell.run(steps["finetune"]) / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.bfloat16}
    assert not any("lora" in name for name in weights)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("preset", ["one_gpu_80g", "one_gpu_24g"])
def test_a_step_of_half_a_billion(
    preset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A language model of the real sizes behind a small tower, its tables tied as published."""
    monkeypatch.setenv(FAKE_GPUS, "1")
    data = tmp_path / "data"
    write_data(data)
    folder = data / "models/llava-onevision-qwen2-0.5b-ov"
    for table in (student_checkpoints.TEXT, student_checkpoints.STORED):
        for name, value in QWEN2_500M.items():
            monkeypatch.setitem(table, name, value)
    monkeypatch.setitem(student_checkpoints.VISION, "image_size", 384)
    monkeypatch.setitem(student_checkpoints.VISION, "patch_size", 14)
    student_checkpoints.publish("llava_onevision/lmms-lab", folder, tied=True)
    smallest = {
        "student": "onevision",
        "students.onevision.size": "0.5b",
        "students.onevision.checkpoint": str(folder),
        "training.steps": 1,
        "training.scenes_per_step": 2,
        "scenes.num_frames": 1,
        "prepare.num_frames": 1,
    }
    steps, cell = steps_of(preset, data, smallest), OneCell(tmp_path / "cell", GPUS)
    before = load_file(folder / "model.safetensors")
    after = load_file(cell.run(steps["finetune"]) / "model.safetensors")
    assert "model.lm_head.weight" not in after
    name = "layers.0.self_attn.q_proj.weight"
    learned = after[f"model.model.language_model.{name}"].float() - before[f"model.{name}"].float()
    assert sum(value.numel() for value in after.values()) > 494e6
    assert learned.isfinite().all()
