"""Steps that spread their scenes over processes make what one process makes, byte by byte."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from threedrs_components.probing.config import ProbeConfig
from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.write import write_world
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.rgbd_folder import WrittenScenesConfig
from threedrs_components.teachers.colours import RGBConfig
from threedrs_platform.compute.recorder import Recorder
from threedrs_platform.config.kinds import choose
from threedrs_platform.errors import DataError, SceneError
from threedrs_platform.fake_gpus import FAKE_GPUS
from threedrs_platform.steps import StepTask
from threedrs_workflows.steps import extract, prepare, probe
from threedrs_workflows.steps.params import StepParams
from threedrs_workflows.steps.params.extract import ExtractParams
from threedrs_workflows.steps.params.prepare import PrepareParams
from threedrs_workflows.steps.params.probe import ProbeParams

pytestmark = pytest.mark.whole

SCENES = choose(WrittenScenesConfig())
PREPARE = PrepareParams(
    prepare=PrepareConfig(image_size=16, grid=2, num_frames=2), scenes=SCENES, trained_split="text"
)
EXTRACT = ExtractParams(
    teacher=choose(RGBConfig()),
    scenes=SCENES,
    grid=2,
    num_frames=2,
    frames="student",
    splits=("text", "probe", "val"),
    statistics_split="text",
    on_bad_scene="refuse",
)
REPORTS = ("bad_scenes.json",)
PROBE = ProbeParams(probe=ProbeConfig(folds=2), fit_split="probe", test_split="val")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    config = MicroWorldConfig(train=6, text=2, val=2, num_frames=3, image_size=16)
    write_world(config, root, "student")
    return root


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., StepTask]:
    def run(step: Any, params: StepParams, name: str, **more: Any) -> StepTask:
        inputs = {key: value for key, value in more.items() if isinstance(value, Path)}
        settings = {key: value for key, value in more.items() if key not in inputs}
        out, scratch = tmp_path / name / "out", tmp_path / name / "scratch"
        for folder in (out, scratch):
            folder.mkdir(parents=True)
        told = {**params.remainder(), **settings}
        task = StepTask(params.identity(), inputs, out, scratch, Recorder(), told)
        step.run(task)
        return task

    return run


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_several_processes_make_the_same_bytes(
    world: Path, run: Callable[..., StepTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FAKE_GPUS, "2")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    one = run(prepare, PREPARE, "prepared", scenes=world).out
    two = run(prepare, PREPARE, "prepared by two", scenes=world, cpus=2).out
    assert len(content(one)) == 9 and content(one) == content(two)
    features = run(extract, EXTRACT, "features", scenes=world, gpus=1).out
    again = run(extract, EXTRACT, "features by two", scenes=world, gpus=2).out
    assert content(features) == content(again)
    inputs = {"scenes": world, "prepared": one, "features": features}
    probed = run(probe, PROBE, "probe", **inputs, gpus=1)
    spread = run(probe, PROBE, "probe by two", **inputs, gpus=2)
    assert content(probed.out) == content(spread.out)
    assert probed.recorder.metrics == spread.recorder.metrics  # type: ignore[attr-defined]


def test_only_scenes_that_annotations_name_are_prepared(
    world: Path, run: Callable[..., StepTask]
) -> None:
    named = tuple(WrittenScenesConfig().open(world).scenes("val"))
    some = PREPARE.model_copy(update={"scene_ids": (*named, "scene9999_99")})
    made = content(run(prepare, some, "some", scenes=world).out)
    assert made.keys() == {*REPORTS, *(f"{each}.safetensors" for each in named)}
    none = PREPARE.model_copy(update={"scene_ids": ("scene9999_99",)})
    with pytest.raises(DataError, match="annotations name"):
        run(prepare, none, "none", scenes=world)


def test_a_bad_scene_stops_or_is_left_out(
    world: Path, tmp_path: Path, run: Callable[..., StepTask]
) -> None:
    shutil.copytree(world, broken := tmp_path / "broken")
    bad = WrittenScenesConfig().open(broken).scenes("val")[0]
    (broken / "scenes" / bad / "camera-intrinsics.txt").write_text("none")
    with pytest.raises(SceneError, match=bad):
        run(prepare, PREPARE, "refused", scenes=broken)
    skips = PREPARE.prepare.model_copy(update={"on_bad_scene": "skip"})
    task = run(
        prepare,
        PREPARE.model_copy(update={"prepare": skips, "scene_ids": (bad, _good(broken))}),
        "skipped",
        scenes=broken,
    )
    assert content(task.out).keys() == {*REPORTS, f"{_good(broken)}.safetensors"}
    assert bad in task.recorder.warnings[0]  # type: ignore[attr-defined]


def _good(world: Path) -> str:
    return WrittenScenesConfig().open(world).scenes("text")[0]
