"""Frames of teacher and student, through the steps: one list, or as the released extractor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from threedrs_components.scenes.scannet import ScanNetConfig
from threedrs_components.testing.teacher_checkpoints import tiny_teacher
from threedrs_platform.compute.recorder import Recorder
from threedrs_platform.config.kinds import choose
from threedrs_platform.steps import StepTask
from threedrs_platform.store.features import FeatureFolder
from threedrs_workflows.steps import extract
from threedrs_workflows.steps.params.extract import ExtractParams

NAMES = [f"{index * 10:05d}" for index in range(4)]
SCENE = "scene0000_00"


@pytest.fixture
def scenes(tmp_path: Path) -> ScanNetConfig:
    """ScanNet files whose first frame has no pose, so that it is not listed."""
    folder = tmp_path / "posed" / SCENE
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0)
    for name in NAMES:
        Image.fromarray(noise.integers(0, 255, (12, 16, 3), np.uint8)).save(folder / f"{name}.jpg")
        Image.fromarray(np.full((12, 16), 1500, np.uint16)).save(folder / f"{name}.png")
        pose = np.full((4, 4), -np.inf) if name == NAMES[0] else np.eye(4)
        np.savetxt(folder / f"{name}.txt", pose)
    for name in ("intrinsic.txt", "depth_intrinsic.txt"):
        np.savetxt(folder / name, np.diag([9.0, 9.0, 1.0, 1.0]))
    entry = {
        "sample_idx": f"scannet/{SCENE}",
        "images": [{"img_path": f"{SCENE}/{name}.jpg"} for name in NAMES[1:]],
        "axis_align_matrix": np.eye(4).tolist(),
        "depth_cam2img": np.diag([9.0, 9.0, 1.0, 1.0]).tolist(),
    }
    lists = tmp_path / "infos.json"
    lists.write_text(json.dumps({"data_list": [entry]}))
    return ScanNetConfig(
        posed_images=str(tmp_path / "posed"), frame_lists={"train": str(lists)}, num_frames=2
    )


@pytest.mark.parametrize(
    ("frames", "seen"),
    [("student", (NAMES[1], NAMES[3])), ("all_images", (NAMES[0], NAMES[3]))],
)
def test_the_teacher_sees_the_frames_that_are_configured(
    frames: Any, seen: tuple[str, ...], scenes: ScanNetConfig, tmp_path: Path
) -> None:
    params = ExtractParams(
        teacher=choose(tiny_teacher("vggt", tmp_path / "weights")),
        scenes=choose(scenes),
        grid=1,
        num_frames=2,
        frames=frames,
        splits=("train",),
        statistics_split="train",
        on_bad_scene="refuse",
    )
    for name in ("out", "scratch"):
        (tmp_path / name).mkdir()
    step = StepTask(
        params.identity(),
        {"scenes": tmp_path},
        tmp_path / "out",
        tmp_path / "scratch",
        Recorder(),
        params.remainder(),
    )
    extract.run(step)
    assert FeatureFolder(step.out)[SCENE].frame_names == seen
