"""Step "prepare" in a grid: what it finds of scenes is told and kept with the result."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.write import write_world
from threedrs_components.scenes.prepare_config import ChecksConfig, PrepareConfig
from threedrs_components.scenes.prepared import FOUND, PreparedScenes, choose_frames
from threedrs_components.scenes.rgbd_folder import RGBDFolderConfig
from threedrs_components.teachers.colours import RGBConfig
from threedrs_components.teachers.extraction import extract_scenes
from threedrs_platform.compute.recorder import Recorder
from threedrs_platform.config.kinds import choose
from threedrs_platform.errors import SceneError
from threedrs_platform.steps import StepTask
from threedrs_platform.store.features import FeatureFolder
from threedrs_workflows.steps import prepare
from threedrs_workflows.steps.params.prepare import PrepareParams

CONFIG = PrepareConfig(num_frames=4, image_size=16, on_bad_scene="skip")


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Two rooms: one lost a pose and a colour image, the other has poses the wrong way round."""
    root = tmp_path / "world"
    write_world(MicroWorldConfig(train=1, text=1, val=1, num_frames=8, image_size=32), root)
    (root / "scenes/train00000/frame-000007.pose.txt").unlink()
    (root / "scenes/train00000/frame-000002.color.png").write_bytes(b"")
    for path in (root / "scenes/val00000").glob("*.pose.txt"):
        np.savetxt(path, np.linalg.inv(np.loadtxt(path)))
    return root


def task(world: Path, root: Path, config: PrepareConfig, num_frames: int | None = 4) -> StepTask:
    for folder in ("out", "scratch"):
        (root / folder).mkdir()
    scenes = RGBDFolderConfig(root=str(world), num_frames=num_frames, min_frames=6)
    params = PrepareParams(prepare=config, scenes=choose(scenes), trained_split="text")
    inputs = {"scenes": world}
    settings = params.remainder()
    return StepTask(params.identity(), inputs, root / "out", root / "scratch", Recorder(), settings)


def test_bad_frames_are_told_and_contradictions_are_bad_scenes(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    step = task(world, tmp_path, CONFIG)
    prepare.run(step)
    report = json.loads(capsys.readouterr().out)
    found = report["scenes"]["train00000"]
    assert [*found["dropped_frames"]] == ["frame-000007", "frame-000002"]
    assert found["checks"]["rotation error of poses"]["verdict"] == "passed"
    told = step.recorder
    assert isinstance(told, Recorder)
    assert any("scene train00000: 2 frames left out" in warning for warning in told.warnings)
    measured = {metric.name: metric.value for metric in told.metrics}
    assert measured["scenes/agreement_of_overlapping_views/lowest"] > 0.9
    assert json.loads((step.out / "bad_scenes.json").read_text()) == ["val00000"]
    assert any("they are world-to-camera" in warning for warning in told.warnings)


def test_other_limits_that_a_scene_passes_make_the_same_bytes(world: Path, tmp_path: Path) -> None:
    def made(name: str, config: PrepareConfig) -> dict[str, bytes]:
        (tmp_path / name).mkdir()
        step = task(world, tmp_path / name, config)
        prepare.run(step)
        return {path.name: path.read_bytes() for path in step.out.iterdir()}

    looser = ChecksConfig(min_agreement=0.6)
    assert made("usual", CONFIG) == made("looser", CONFIG.model_copy(update={"checks": looser}))


def test_a_contradiction_stops_the_step_where_bad_scenes_are_refused(
    world: Path, tmp_path: Path
) -> None:
    with pytest.raises(SceneError, match="they are world-to-camera"):
        prepare.run(task(world, tmp_path, CONFIG.model_copy(update={"on_bad_scene": "refuse"})))


def test_extraction_and_preparation_choose_the_same_frames(world: Path, tmp_path: Path) -> None:
    step = task(world, tmp_path, CONFIG)
    prepare.run(step)
    names = PreparedScenes(step.out)["train00000"].frame_names
    source = RGBDFolderConfig(root=str(world), num_frames=4, min_frames=6).open(world)
    teacher = RGBConfig(grid=4).build()
    extract_scenes(teacher, source, ["train00000"], tmp_path / "features", 4, num_frames=4)
    assert FeatureFolder(tmp_path / "features")["train00000"].frame_names == names
    assert names == ("frame-000000", "frame-000001", "frame-000004", "frame-000006")


def test_frames_that_see_most_are_those_of_preparation_and_of_extraction(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    step = task(world, tmp_path, CONFIG.model_copy(update={"sampling": "coverage"}), None)
    prepare.run(step)
    names = PreparedScenes(step.out)["train00000"].frame_names
    source = RGBDFolderConfig(root=str(world), min_frames=6).open(world)
    scene = source.load("train00000")
    assert names == choose_frames(scene, 4, CONFIG.voxel_m).frame_names
    assert names != choose_frames(scene, 4).frame_names
    extract_scenes(
        RGBConfig(grid=4).build(),
        source,
        ["train00000"],
        tmp_path / "features",
        4,
        num_frames=4,
        coverage_voxel_m=CONFIG.voxel_m,
    )
    assert FeatureFolder(tmp_path / "features")["train00000"].frame_names == names
    report, told = json.loads(capsys.readouterr().out), step.recorder
    found = report["scenes"]["train00000"]["coverage"]
    assert found["candidates"] == 6 and found["uniform"] < found["chosen"] < 1
    assert isinstance(told, Recorder)
    measured = {metric.name: metric for metric in told.metrics}
    for frames in ("chosen", "uniform"):
        metric = measured[f"scenes/coverage/{frames}"]
        assert (metric.value, metric.unit) == (100 * found[frames], "%")


@pytest.mark.parametrize("ending", [".safetensors", FOUND])
def test_a_damaged_scene_of_an_earlier_attempt_is_made_again(
    ending: str, world: Path, tmp_path: Path
) -> None:
    step = task(world, tmp_path, CONFIG)
    prepare.run(step)
    whole = {path.name: path.read_bytes() for path in step.out.iterdir()}
    damaged = step.scratch / f"train00000{ending}"
    half = damaged.read_bytes()[:20]
    damaged.unlink()  # the artifact shares its bytes
    damaged.write_bytes(half)
    recorder = Recorder()
    again = replace(step, out=tmp_path / "again", recorder=recorder)
    again.out.mkdir()
    prepare.run(again)
    assert {path.name: path.read_bytes() for path in again.out.iterdir()} == whole
    told = [line for line in recorder.warnings if "damaged since" in line]
    assert len(told) == 1 and told[0].startswith(damaged.name)
