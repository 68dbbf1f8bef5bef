"""How many scenes are read ahead and held changes no number, is bounded, and leaves nothing."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from threedrs_components.objectives.alignment.config import AlignmentConfig
from threedrs_components.objectives.correspondence import CorrespondenceConfig
from threedrs_components.objectives.gram import GramConfig
from threedrs_components.objectives.objective import TeacherFeatures
from threedrs_components.scenes.prepared import PreparedScenes, write_prepared
from threedrs_components.students.build import build_student
from threedrs_components.students.checkpoints import save_student
from threedrs_components.students.fusion_settings import FusionSettings
from threedrs_components.students.guidance import Guidance
from threedrs_components.students.llava_video import LlavaVideoConfig
from threedrs_components.testing.synthetic import (
    TASKS,
    random_samples,
    random_scene,
    random_student,
    write_random_features,
)
from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.data import TrainingData
from threedrs_components.training.held_scenes import Held, tensor_bytes
from threedrs_components.training.loop import TrainingInputs, train
from threedrs_platform.errors import DataError, SceneError, StepFailed

pytestmark = pytest.mark.whole

SCENES = tuple("abcdefgh")
NOTHING_HELD = 1e-9
BITS = ("loss", "gradient_norm", "loss/")
"""How the names of curves begin that come from what was computed."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> TrainingInputs:
    root = tmp_path_factory.mktemp("ahead")
    save_student(random_student(), root / "student")
    samples = {}
    for number, name in enumerate(SCENES):
        scene = random_scene(name, number)
        write_prepared(scene, root / "prepared")
        samples[name] = random_samples(scene, 6, number)
        write_random_features(scene, root / "features", 8, number)
    return TrainingInputs(
        student=LlavaVideoConfig(checkpoint=str(root / "student")),
        prepared=root / "prepared",
        samples={name: samples[name] for name in SCENES[:-1]},
        training=TrainingConfig(
            steps=5,
            scenes_per_step=2,
            questions_per_scene=4,
            checkpoint_every=2,
            log_every=1,
            shuffle_frames=True,
        ),
        objectives=(
            *TASKS,
            AlignmentConfig(standardise=True),
            GramConfig(weight=0.5),
            CorrespondenceConfig(weight=0.5, level="token", voxel_m=1.0),
        ),
        features=root / "features",
        validation={SCENES[-1]: samples[SCENES[-1]]},
    )


class Stopped(Exception):
    """Stands for whatever ends a training."""


def curve(
    inputs: TrainingInputs, folder: Path, stop_after: int | None = None, **training: Any
) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {}

    def report(step: int, values: dict[str, float]) -> None:
        found[step] = {name: each for name, each in values.items() if name.startswith(BITS)}
        if step == stop_after:
            raise Stopped

    chosen = replace(inputs, training=inputs.training.model_copy(update=training))
    train(chosen, report=report, checkpoint_dir=folder / "checkpoints", out=folder / "out")
    return found


def readers() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("ahead")]


@pytest.mark.parametrize("seed", [0, 7])
@pytest.mark.parametrize(
    "conduct",
    [
        {"rounds_ahead": 0, "scene_memory_gib": NOTHING_HELD},
        {"rounds_ahead": 6, "scene_memory_gib": NOTHING_HELD, "validate_every": 2},
    ],
)
def test_what_is_read_ahead_and_held_changes_no_bit(
    conduct: dict[str, Any], seed: int, inputs: TrainingInputs, tmp_path: Path
) -> None:
    seeded = replace(inputs, seed=seed)
    undisturbed = curve(seeded, tmp_path / "usual")
    with pytest.raises(Stopped):
        curve(seeded, tmp_path / "other", stop_after=3, **conduct)
    assert not readers()
    # It goes on from step 2 in the other way, and tells its past again.
    assert curve(seeded, tmp_path / "other", **conduct) == undisturbed
    one, other = (
        load_file(tmp_path / name / "out/model.safetensors") for name in ("usual", "other")
    )
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def data_of(inputs: TrainingInputs, **training: Any) -> TrainingData:
    student, prepared = build_student(inputs.student), PreparedScenes(inputs.prepared)
    teacher = TeacherFeatures(inputs.features, prepared, SCENES[:-1])
    assert inputs.features is not None
    return TrainingData(
        prepared,
        inputs.samples,
        student.tokenizer,
        inputs.training.model_copy(update=training),
        inputs.seed,
        objectives=[each.build(student, teacher) for each in inputs.objectives],
        guidance=Guidance(inputs.features, FusionSettings(mode="add")),
    )


def mapped(inputs: TrainingInputs) -> set[str]:
    """Files of features and scenes that this process has mapped."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    folders = (str(inputs.features), str(inputs.prepared))
    return {line.split()[-1] for line in lines if line.split()[-1].startswith(folders)}


def test_maps_of_scenes_that_are_not_held_are_closed(inputs: TrainingInputs) -> None:
    data = data_of(inputs, scene_memory_gib=NOTHING_HELD, steps=8)
    for _ in data.rounds(0, 0, 1):
        pass
    # The newest scene is held, and each folder keeps two files open.
    assert len(data._held) == 1
    assert len(mapped(inputs)) <= 1 + 2
    del data
    assert not mapped(inputs)


def test_scenes_are_held_as_long_as_they_fit(inputs: TrainingInputs) -> None:
    data = data_of(inputs)
    size = data.scene("a").nbytes
    assert data.scene("a") is data.scene("a")
    few = data_of(inputs, scene_memory_gib=2.5 * size / 2**30)
    first = few.scene("a")
    few.scene("b")
    assert few.scene("a") is first
    few.scene("c")
    assert len(few._held) == 2 and few._held.nbytes <= few._held.most_bytes
    assert few.scene("a") is first, "b was used longer ago"


def test_a_thing_larger_than_the_room_is_held_alone() -> None:
    held: Held[torch.Tensor] = Held(4)
    for name in "ab":
        held.get(name, lambda name: torch.zeros(100))
    assert len(held) == 1 and held.nbytes == 400
    assert tensor_bytes({"x": (torch.zeros(3), [torch.zeros(2, dtype=torch.float16)])}) == 16


def test_what_fails_ahead_names_its_scene(inputs: TrainingInputs, tmp_path: Path) -> None:
    """Samples whose errors know of no scene, a file that is gone, and sizes that do not fit."""
    nameless = replace(inputs.samples["c"][1], sample_id="7", scene_id="", answers=())
    spoiled = {**inputs.samples, "c": [nameless] * 6}
    plain = replace(inputs, objectives=TASKS, features=None)
    with pytest.raises(SceneError, match=r"scene c: sample 7: a text sample needs an answer"):
        curve(replace(plain, samples=spoiled), tmp_path / "answers")
    assert not readers()
    with pytest.raises(DataError, match="scene nowhere: was not prepared"):
        curve(replace(plain, samples={"nowhere": inputs.samples["a"]}), tmp_path / "gone")
    other = tmp_path / "prepared"
    for name, frames in (("a", 2), ("b", 3)):
        write_prepared(random_scene(name, 0, num_frames=frames), other)
    unequal = {name: inputs.samples[name] for name in "ab"}
    with pytest.raises(StepFailed, match=r"while scenes [ab], [ab] were read: RuntimeError: stack"):
        curve(replace(plain, samples=unequal, prepared=other), tmp_path / "unequal")
    assert not readers()


def test_how_scenes_are_read_decides_no_identity() -> None:
    usual, other = TrainingConfig(), TrainingConfig(rounds_ahead=0, scene_memory_gib=4.0)
    assert usual.identity() == other.identity()
