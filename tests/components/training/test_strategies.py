"""Several ranks and sharded optimizers end where one process ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from threedrs_components.scenes.prepared import write_prepared
from threedrs_components.students.checkpoints import save_student
from threedrs_components.students.llava_video import LlavaVideoConfig
from threedrs_components.testing.synthetic import (
    TASKS,
    random_samples,
    random_scene,
    random_student,
)
from threedrs_components.training.config import Strategy, TrainingConfig
from threedrs_components.training.launch import train_here
from threedrs_components.training.loop import TrainingInputs, train
from threedrs_components.training.strategies import World
from threedrs_platform.errors import SceneError


@pytest.fixture
def inputs(tmp_path: Path) -> TrainingInputs:
    save_student(random_student(), tmp_path / "student")
    samples = {}
    for number, name in enumerate(("a", "b")):
        scene = random_scene(name, number)
        write_prepared(scene, tmp_path / "prepared")
        samples[name] = random_samples(scene, 6, number)
    return TrainingInputs(
        student=LlavaVideoConfig(checkpoint=str(tmp_path / "student")),
        prepared=tmp_path / "prepared",
        samples=samples,
        training=TrainingConfig(steps=2, scenes_per_step=2, questions_per_scene=4, log_every=1),
        objectives=TASKS,
    )


def run(inputs: TrainingInputs, folder: Path) -> list[dict[str, float]]:
    curve: list[dict[str, float]] = []
    train_here(
        inputs,
        report=lambda step, values: curve.append(values),
        checkpoint_dir=folder / "checkpoints",
        out=folder / "out",
    )
    return curve


def assert_same_weights(one: Path, other: Path) -> None:
    expected = load_file(one / "out/model.safetensors")
    for name, tensor in load_file(other / "out/model.safetensors").items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=2e-4, msg=name)


def with_strategy(inputs: TrainingInputs, strategy: Strategy, workers: int) -> TrainingInputs:
    changed = inputs.training.model_copy(update={"strategy": strategy, "workers": workers})
    return replace(inputs, training=changed)


@pytest.mark.slow
def test_two_ranks_train_what_one_trains(inputs: TrainingInputs, tmp_path: Path) -> None:
    one = run(inputs, tmp_path / "one")
    two = run(with_strategy(inputs, "ddp", 2), tmp_path / "two")
    assert [point["loss"] for point in two] == pytest.approx([p["loss"] for p in one], rel=1e-4)
    assert_same_weights(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("strategy", ["deepspeed_zero1", "deepspeed_zero2", "deepspeed_zero3"])
def test_deepspeed_trains_on_the_cpu(
    inputs: TrainingInputs, tmp_path: Path, strategy: Strategy
) -> None:
    one = run(inputs, tmp_path / "one")
    sharded = run(with_strategy(inputs, strategy, 1), tmp_path / "sharded")
    assert [p["loss"] for p in sharded] == pytest.approx([p["loss"] for p in one], rel=1e-3)
    assert_same_weights(tmp_path / "one", tmp_path / "sharded")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("strategy", ["deepspeed_zero2", "deepspeed_zero3"])
def test_sharded_ranks_may_be_asked_different_things(
    inputs: TrainingInputs, tmp_path: Path, strategy: Strategy
) -> None:
    """One rank only finds objects, the other only writes text."""
    kinds = {"a": "ground", "b": "text"}
    samples = {
        name: [sample for sample in inputs.samples[name] if sample.kind == kind]
        for name, kind in kinds.items()
    }
    inputs = replace(inputs, samples=samples)
    one = run(inputs, tmp_path / "one")
    two = run(with_strategy(inputs, strategy, 2), tmp_path / "two")
    assert [p["loss"] for p in two] == pytest.approx([p["loss"] for p in one], rel=1e-3)
    assert_same_weights(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.filterwarnings("default")
def test_any_training_may_follow_any_other_in_one_process(
    inputs: TrainingInputs, tmp_path: Path
) -> None:
    """DeepSpeed twice, two ranks, a failure, and DeepSpeed again."""
    one = run(inputs, tmp_path / "one")
    lost = replace(with_strategy(inputs, "deepspeed_zero2", 2), samples={"x": inputs.samples["a"]})
    for number, (strategy, workers) in enumerate(FOLLOWING):
        if number == 3:
            with pytest.raises(SceneError, match="was not prepared"):
                run(lost, tmp_path / "lost")
        folder = tmp_path / str(number)
        losses = [point["loss"] for point in run(with_strategy(inputs, strategy, workers), folder)]
        assert losses == pytest.approx([point["loss"] for point in one], rel=1e-3)
        assert_same_weights(tmp_path / "one", folder)


FOLLOWING: tuple[tuple[Strategy, int], ...] = (
    ("deepspeed_zero3", 1),
    ("deepspeed_zero2", 1),
    ("ddp", 2),
    ("deepspeed_zero2", 2),
)


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_deepspeed_resumes(inputs: TrainingInputs, tmp_path: Path) -> None:
    often = inputs.training.model_copy(update={"checkpoint_every": 1, "steps": 3})
    inputs = with_strategy(replace(inputs, training=often), "deepspeed_zero2", 1)
    run(inputs, tmp_path / "whole")

    def stop(step: int, values: dict[str, float]) -> None:
        if step == 2:
            raise KeyboardInterrupt

    broken = tmp_path / "broken"
    with pytest.raises(KeyboardInterrupt):
        train(
            inputs,
            report=stop,
            checkpoint_dir=broken / "checkpoints",
            out=broken / "out",
            world=World(),
        )
    run(inputs, broken)
    assert_same_weights(tmp_path / "whole", broken)
