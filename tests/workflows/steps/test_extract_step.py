"""Step "extract" in a grid: any teacher of the registry, and the statistics training reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.write import write_world
from threedrs_components.scenes.rgbd_folder import RGBDFolder, WrittenScenesConfig
from threedrs_components.testing.teacher_checkpoints import TINY_KINDS, tiny_teacher
from threedrs_platform.compute.recorder import Recorder
from threedrs_platform.config.kinds import choose
from threedrs_platform.errors import ConfigError
from threedrs_platform.steps import StepTask
from threedrs_platform.store.features import FeatureFolder, feature_statistics, read_statistics
from threedrs_workflows.steps import extract
from threedrs_workflows.steps.params.extract import ExtractParams


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    config = MicroWorldConfig(train=4, text=2, val=2, num_frames=3, image_size=16)
    write_world(config, root, "student")
    return root


def task(kind: str, scenes: Path, root: Path, **settings: Any) -> StepTask:
    for folder in ("out", "scratch"):
        (root / folder).mkdir()
    params = ExtractParams(
        teacher=choose(tiny_teacher(kind, root / "weights")),
        scenes=choose(WrittenScenesConfig()),
        grid=2,
        num_frames=2,
        frames="student",
        splits=("text", "val"),
        statistics_split="text",
        on_bad_scene="refuse",
    )
    settings |= params.remainder()
    inputs = {"scenes": scenes}
    return StepTask(params.identity(), inputs, root / "out", root / "scratch", Recorder(), settings)


@pytest.mark.parametrize("kind", ["rgb", *(kind for kind in TINY_KINDS if kind != "flare")])
def test_features_of_both_splits_and_statistics_of_one(
    kind: str, scenes: Path, tmp_path: Path
) -> None:
    step = task(kind, scenes, tmp_path)
    extract.run(step)
    stored, source = FeatureFolder(step.out), RGBDFolder(scenes)
    text, val = source.scenes("text"), source.scenes("val")
    assert stored.scenes() == sorted({*text, *val})
    assert {stored[scene].features.shape[:3] for scene in stored.scenes()} == {(2, 2, 2)}
    assert stored.stored(text[0]).header.teacher == kind
    statistics = read_statistics(step.out)
    assert statistics.scene_ids == tuple(text)
    assert (statistics.mean == feature_statistics(stored, text).mean).all()
    assert json.loads((step.out / "bad_scenes.json").read_text()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="a machine with a GPU grants it")
def test_a_gpu_that_is_not_there_is_refused(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="this step asks for a GPU"):
        extract.run(task("dinov2", scenes, tmp_path, gpus=1))
