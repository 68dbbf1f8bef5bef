"""Training in a worker group of Ray, which computes what one process does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

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
from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.launch import train_here
from threedrs_components.training.loop import TrainingInputs, TrainingSummary
from threedrs_platform.errors import SceneError, StepFailed
from threedrs_workflows.steps.ray_training import GroupResources, train_on_ray

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.filterwarnings("default")]
BOTH_CPUS = GroupResources(cpus=2)


@pytest.fixture(scope="module")
def ray_here() -> Iterator[Any]:
    import ray

    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


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


def settings(folder: Path) -> tuple[dict[str, Any], dict[int, dict[str, float]]]:
    curve: dict[int, dict[str, float]] = {}
    return {
        "report": curve.__setitem__,
        "checkpoint_dir": folder / "checkpoints",
        "out": folder / "out",
    }, curve


def assert_close(one: Path, other: Path) -> None:
    expected = load_file(one / "out/model.safetensors")
    for name, tensor in load_file(other / "out/model.safetensors").items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=2e-4, msg=name)


def test_a_step_that_holds_nothing_trains_in_its_worker_group(
    ray_here: Any, inputs: TrainingInputs, tmp_path: Path
) -> None:
    here, _ = settings(tmp_path / "here")
    train_here(inputs, **here)
    two = replace(inputs, training=inputs.training.model_copy(update={"workers": 2}))

    def step(two: TrainingInputs, folder: Path) -> tuple[TrainingSummary, list[int]]:
        there, curve = settings(folder)
        return train_on_ray(two, **there, resources=BOTH_CPUS), sorted(curve)

    remote = ray_here.remote(num_cpus=0, max_retries=0)(step)
    summary, reported = ray_here.get(remote.remote(two, tmp_path / "there"))
    assert summary.steps == 2
    assert reported == [1, 2]
    assert_close(tmp_path / "here", tmp_path / "there")


def test_the_error_of_a_worker_is_the_error_of_the_step(
    ray_here: Any, inputs: TrainingInputs, tmp_path: Path
) -> None:
    training = inputs.training.model_copy(update={"workers": 2})
    there, _ = settings(tmp_path / "there")
    with pytest.raises(SceneError, match="was not prepared"):
        lost = {"x": inputs.samples["a"]}
        train_on_ray(replace(inputs, training=training, samples=lost), **there, resources=BOTH_CPUS)


def test_a_cluster_without_room_is_an_infrastructure_failure(
    ray_here: Any, inputs: TrainingInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "1")
    two = replace(inputs, training=inputs.training.model_copy(update={"workers": 2}))
    there, _ = settings(tmp_path / "there")
    with pytest.raises(StepFailed, match="no group of 2 workers with 1 CPU, 1 GPU each") as told:
        train_on_ray(two, **there, resources=GroupResources(cpus=2, gpus=2))
    assert told.value.failure == "infra"
