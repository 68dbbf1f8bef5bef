"""ScanNet++ and ARKitScenes as a grid prepares them: good scenes are kept, bad ones are named."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.prepared import PreparedScenes
from threedrs_components.scenes.scenezoo import ScenezooConfig
from threedrs_components.testing.zoo_downloads import shoot, write_arkitscenes, write_scannetpp
from threedrs_platform.compute.recorder import Recorder
from threedrs_platform.config.kinds import choose
from threedrs_platform.errors import SceneError
from threedrs_platform.steps import StepTask
from threedrs_workflows.steps import prepare
from threedrs_workflows.steps.params.prepare import PrepareParams

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ImportWarning"),
    pytest.mark.skipif(
        find_spec("scenezoo") is None,
        reason="the extra is not installed: pip install -e '.[scenes]'",
    ),
]
GOOD, BAD = "41069021", "41069025"


def prepared(scenes: ScenezooConfig, folder: Path, on_bad_scene: str = "skip") -> Path:
    config = PrepareConfig.model_validate(
        {"image_size": 32, "grid": 2, "num_frames": 3, "on_bad_scene": on_bad_scene}
    )
    params = PrepareParams(prepare=config, scenes=choose(scenes), trained_split="train")
    written, out, scratch = (folder / name for name in ("scenes", "out", "scratch"))
    for each in (written, out, scratch):
        each.mkdir(parents=True)
    scenes.write(written, "student", lambda *_: None)
    inputs = {"scenes": written}
    prepare.run(StepTask(params.identity(), inputs, out, scratch, Recorder(), params.remainder()))
    return out


def settings(dataset: str, root: Path, *scene_ids: str) -> ScenezooConfig:
    (root / "train.txt").write_text("\n".join(scene_ids))
    (root / "val.txt").write_text("")
    lists = {split: str(root / f"{split}.txt") for split in ("train", "val")}
    given = {"dataset": dataset, "root": str(root), "split_files": lists, "min_frames": 2}
    return ScenezooConfig.model_validate(given)


def test_a_scene_of_scannetpp_is_prepared(tmp_path: Path) -> None:
    film = shoot(3)
    write_scannetpp(film, tmp_path, "0a7cc12c0e")
    out = prepared(settings("scannetpp", tmp_path, "0a7cc12c0e"), tmp_path / "step")
    scene = PreparedScenes(out)["scannetpp.0a7cc12c0e"]
    assert scene.labels == (*film.objects.labels, "part")
    assert scene.frame_names == ("frame_000000", "frame_000001", "frame_000002")
    low, high = film.points.min(axis=(0, 1, 2)), film.points.max(axis=(0, 1, 2))
    inside = (scene.coordinates.numpy() > low - 0.01) & (scene.coordinates.numpy() < high + 0.01)
    assert inside.all() and bool((scene.counts > 0).all())


def test_a_bad_scene_of_arkitscenes_is_named_and_the_good_one_kept(tmp_path: Path) -> None:
    film = shoot(3, sky="Left")
    write_arkitscenes(film, tmp_path, GOOD, sky="Left")
    folder = write_arkitscenes(film, tmp_path, BAD, fold="Validation", sky="Left")
    (folder / "lowres_wide.traj").write_text("lost")
    scenes = settings("arkitscenes", tmp_path, GOOD, BAD)
    out = prepared(scenes, tmp_path / "step")
    assert PreparedScenes(out).scenes() == [f"arkitscenes.{GOOD}"]
    assert json.loads((out / "bad_scenes.json").read_text()) == [f"arkitscenes.{BAD}"]
    with pytest.raises(SceneError, match="Invalid ARKitScenes trajectory"):
        prepared(scenes, tmp_path / "refused", on_bad_scene="refuse")
