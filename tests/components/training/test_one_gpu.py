"""What makes training small: adapters, 8-bit moments, states on the host. All resume exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from threedrs_components.randomness import seed_of
from threedrs_components.scenes.prepared import write_prepared
from threedrs_components.students.checkpoints import save_student
from threedrs_components.students.llava_video import LlavaVideoConfig
from threedrs_components.students.settings import LoraSettings
from threedrs_components.testing.synthetic import (
    TASKS,
    random_samples,
    random_scene,
    random_student,
)
from threedrs_components.training import loop
from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.loop import TrainingInputs, train

LORA: dict[str, Any] = {"lora": LoraSettings(rank=4, dropout=0.05), "frozen": ("vision",)}
IN_8_BITS: dict[str, Any] = {"optimizer": "adamw_8bit", "dtype": "bfloat16"}
OFFLOADED: dict[str, Any] = {
    **{"strategy": "deepspeed_zero2", "offload": "optimizer"},
    **{"dtype": "bfloat16", "gradient_accumulation": 2},
}


@pytest.fixture
def inputs(tmp_path: Path) -> TrainingInputs:
    save_student(random_student(), tmp_path / "student")
    samples = {}
    for number, name in enumerate(("a", "b")):
        scene = random_scene(name, number)
        write_prepared(scene, tmp_path / "prepared")
        samples[name] = random_samples(scene, 6, number)
    return TrainingInputs(
        student=LlavaVideoConfig(checkpoint=str(tmp_path / "student"), gradient_checkpointing=True),
        prepared=tmp_path / "prepared",
        samples=samples,
        training=TrainingConfig(
            steps=4, scenes_per_step=2, questions_per_scene=2, log_every=1, checkpoint_every=2
        ),
        objectives=TASKS,
    )


def chosen(
    inputs: TrainingInputs, student: dict[str, Any], training: dict[str, Any]
) -> TrainingInputs:
    return replace(
        inputs,
        student=inputs.student.model_copy(update=student),
        training=TrainingConfig(**(inputs.training.model_dump() | training)),
    )


def run(inputs: TrainingInputs, folder: Path, stop_at: int | None = None) -> dict[str, Any]:
    """Weights and curve; stopped as if killed after a step."""
    losses: list[float] = []

    def report(step: int, values: dict[str, float]) -> None:
        losses.append(values["loss"])
        if step == stop_at:
            raise KeyboardInterrupt

    try:
        train(inputs, report=report, checkpoint_dir=folder / "checkpoints", out=folder / "out")
    except KeyboardInterrupt:
        return {}
    return {"losses": losses, "weights": load_file(folder / "out/model.safetensors")}


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("student", "training"),
    [(LORA, {}), (LORA, IN_8_BITS), ({}, IN_8_BITS), ({}, OFFLOADED), (LORA, OFFLOADED)],
    ids=["lora", "lora 8 bits", "8 bits", "offload", "lora offload"],
)
def test_a_killed_training_ends_where_an_undisturbed_one_does(
    inputs: TrainingInputs, tmp_path: Path, student: dict[str, Any], training: dict[str, Any]
) -> None:
    setting = chosen(inputs, student, training)
    whole = run(setting, tmp_path / "whole")
    run(setting, tmp_path / "killed", stop_at=3)
    resumed = run(setting, tmp_path / "killed")
    assert len(resumed["losses"]) == 4, "of its past, up to the checkpoint, and its own"
    assert resumed["losses"][-1] == pytest.approx(whole["losses"][-1], rel=1e-6)
    before = load_file(tmp_path / "student/model.safetensors")
    assert resumed["weights"].keys() == before.keys()
    for name, value in whole["weights"].items():
        torch.testing.assert_close(resumed["weights"][name], value, rtol=0, atol=0, msg=name)
    moved = {name for name, value in before.items() if not _equal(value, whole["weights"][name])}
    assert any("language_model.layers.0.self_attn.q_proj" in name for name in moved)
    assert ("vision_tower" in str(moved)) == ("frozen" not in student)


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    """In the digits of the one that has fewer."""
    return torch.equal(one.to(other.dtype), other)


def test_dropout_draws_anew_for_every_step_and_scene(
    inputs: TrainingInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[int, ...]] = []

    def noted(*numbers: int) -> int:
        drawn.append(numbers)
        return seed_of(*numbers)

    monkeypatch.setattr(loop, "seed_of", noted)
    run(chosen(inputs, LORA, {"gradient_accumulation": 2}), tmp_path / "run")
    assert drawn == [(0, step, scene) for step in range(4) for scene in range(2)]


def test_a_checkpoint_of_adapters_does_not_hold_the_model(
    inputs: TrainingInputs, tmp_path: Path
) -> None:
    sizes = {}
    for name, student in (("all", {}), ("lora", LORA)):
        run(chosen(inputs, student, {}), tmp_path / name)
        state = next((tmp_path / name / "checkpoints").glob("step-*/state.pt"))
        sizes[name] = state.stat().st_size
    assert sizes["lora"] < sizes["all"] / 2


def test_the_states_of_an_offloaded_optimizer_train_what_the_others_train(
    inputs: TrainingInputs, tmp_path: Path
) -> None:
    here = run(chosen(inputs, {}, {**OFFLOADED, "offload": "none"}), tmp_path / "here")
    host = run(chosen(inputs, {}, OFFLOADED), tmp_path / "host")
    assert host["losses"] == pytest.approx(here["losses"], rel=1e-3)


def test_offload_without_deepspeed_is_refused_with_the_cure() -> None:
    with pytest.raises(ValidationError, match="set strategy: deepspeed_zero2"):
        TrainingConfig(offload="optimizer")
