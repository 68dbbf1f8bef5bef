"""Every kind of scene source that the registry lists takes the same exam, newcomers too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from threedrs_components.scenes.registry import SCENES
from threedrs_components.scenes.settings import SceneSettings
from threedrs_components.scenes.splits import read_splits
from threedrs_components.testing.scene_sources import WRITERS, tiny_scenes
from threedrs_platform.config.kinds import choose


@pytest.fixture(scope="module", params=SCENES)
def settings(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> SceneSettings:
    kind: str = request.param
    assert kind in WRITERS, f"say in testing/scene_sources.py how scenes of kind {kind} are written"
    chosen = tiny_scenes(kind, tmp_path_factory.mktemp(kind))
    if chosen.package is not None:
        pytest.importorskip(chosen.package[0], reason=f"pip install {chosen.package[1]}")
    return chosen


@pytest.fixture(scope="module")
def written(settings: SceneSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact")
    settings.write(folder, "student", lambda *_: None)
    return folder


def test_settings_are_read_without_torch() -> None:
    modules = sorted({SCENES.module(kind) for kind in SCENES})
    code = f"import sys, {', '.join(modules)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_step_gets_the_source_that_was_configured(settings: SceneSettings) -> None:
    assert choose(settings).open(SceneSettings) == settings


def test_places_are_named_and_are_no_part_of_the_identity(settings: SceneSettings) -> None:
    identity = str(settings.identity())
    for setting, path in settings.data().items():
        assert setting.startswith("scenes.") and Path(path).exists()
        assert path not in identity


def test_what_is_written_names_the_splits_and_no_place(
    settings: SceneSettings, written: Path
) -> None:
    splits = read_splits(written)
    assert {settings.annotated_split, settings.probe_split, "val"} <= splits.keys()
    told = "".join(path.read_text() for path in written.glob("*.json"))
    assert not any(path in told for path in settings.data().values())


def test_every_split_holds_scenes_in_order(settings: SceneSettings, written: Path) -> None:
    source = settings.reader().open(written)
    every = source.scenes("all")
    assert list(every) == sorted(set(every)) and every
    for split in source.splits():
        assert set(source.scenes(split)) <= set(every)
        assert list(source.scenes(split)) == sorted(source.scenes(split))


def test_a_scene_is_whole_and_the_same_whenever_it_is_read(
    settings: SceneSettings, written: Path
) -> None:
    source = settings.reader().open(written)
    scene_id = source.scenes("all")[0]
    scene, again = source.load(scene_id), source.load(scene_id)
    frames = len(scene.frame_names)
    assert scene.scene_id == scene_id and frames > 1
    assert settings.most_frames is None or frames <= settings.most_frames
    assert scene.images.dtype == np.uint8 and scene.images.shape[0] == frames
    assert scene.depth.dtype == np.float32 and (scene.depth > 0).any() == settings.has_geometry
    rotations = scene.camera_to_world[:, :3, :3]
    identity = np.broadcast_to(np.eye(3), rotations.shape)
    np.testing.assert_allclose(rotations @ rotations.transpose(0, 2, 1), identity, atol=1e-4)
    for name in ("images", "depth", "color_intrinsics", "camera_to_world", "axis_alignment"):
        assert np.array_equal(getattr(scene, name), getattr(again, name)), name
