"""Looks at held-out scenes leave the weights alone and compare trainings of any loss weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from threedrs_components.objectives.correspondence import CorrespondenceConfig
from threedrs_components.objectives.grounding import GroundingConfig
from threedrs_components.objectives.registry import VALIDATION_CURVES
from threedrs_components.objectives.text import TextConfig
from threedrs_components.scenes.prepared import write_prepared
from threedrs_components.students.checkpoints import save_student
from threedrs_components.students.llava_video import LlavaVideoConfig
from threedrs_components.testing.synthetic import (
    TASKS,
    random_samples,
    random_scene,
    random_student,
)
from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.loop import TrainingInputs, train

LOOKING = {"validate_every": 2}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> TrainingInputs:
    root = tmp_path_factory.mktemp("validation")
    save_student(random_student(), root / "student")
    samples = {}
    for number, name in enumerate("abc"):
        scene = random_scene(name, number)
        write_prepared(scene, root / "prepared")
        samples[name] = random_samples(scene, 6, number)
    return TrainingInputs(
        student=LlavaVideoConfig(checkpoint=str(root / "student")),
        prepared=root / "prepared",
        samples={name: samples[name] for name in "ab"},
        training=TrainingConfig(steps=4, scenes_per_step=2, questions_per_scene=4, log_every=3),
        objectives=TASKS,
        validation={"c": samples["c"]},
    )


def curve(inputs: TrainingInputs, folder: Path, **training: int) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {}
    chosen = inputs.training.model_copy(update=training)
    train(
        replace(inputs, training=chosen),
        report=found.__setitem__,
        checkpoint_dir=folder / "checkpoints",
        out=folder / "out",
    )
    return found


def test_looking_leaves_the_weights_alone(inputs: TrainingInputs, tmp_path: Path) -> None:
    blind = curve(inputs, tmp_path / "blind")
    seeing = curve(inputs, tmp_path / "seeing", **LOOKING)
    assert not any(name.startswith("validation") for values in blind.values() for name in values)
    looked = [step for step, values in seeing.items() if set(VALIDATION_CURVES) <= set(values)]
    assert looked == [2, 4]
    one, other = (
        load_file(tmp_path / name / "out" / "model.safetensors") for name in ("blind", "seeing")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_loss_weights_do_not_enter(inputs: TrainingInputs, tmp_path: Path) -> None:
    still = replace(
        inputs, training=inputs.training.model_copy(update={"learning_rate": 1e-30, "steps": 2})
    )
    heavy = (
        TextConfig(),
        GroundingConfig(weight=10.0),
        CorrespondenceConfig(weight=3.0, level="token", voxel_m=1.0),
    )
    light = curve(still, tmp_path / "light", **LOOKING)[2]
    other = curve(replace(still, objectives=heavy), tmp_path / "heavy", **LOOKING)[2]
    assert other["loss"] > 2 * light["loss"]
    assert other["validation/loss"] == pytest.approx(light["validation/loss"], rel=1e-6)
    parts = light["validation/loss/text"] + light["validation/loss/grounding"]
    assert light["validation/loss"] == pytest.approx(parts)
