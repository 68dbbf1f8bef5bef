"""`workflows extract` on folders of posed RGB-D frames."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.write import write_world
from threedrs_components.scenes.prepared import PreparedScenes
from threedrs_components.scenes.rgbd_folder import RGBDFolder
from threedrs_components.teachers.vggt.architecture import VGGTArchitecture
from threedrs_components.teachers.vggt.model import VGGT
from threedrs_components.teachers.weights import write_tensors
from threedrs_components.testing.teacher_checkpoints import TINY_KINDS, write_tiny_checkpoint
from threedrs_platform.store.features import FeatureFolder
from threedrs_workflows.cli import main

SHARED = Path(os.environ.get("THREEDRS_SHARED", Path(__file__).parents[3] / ".." / "shared"))
REDKITCHEN = SHARED / "data" / "redkitchen"
SHAPE = VGGTArchitecture(
    image_size=64, patch_size=16, embed_dim=16, heads=2, patch_embed_depth=1, depth=1,
    dpt_layers=(0, 0, 0, 0),
)  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "model.safetensors"
    torch.manual_seed(0)
    write_tensors(path, VGGT(SHAPE))
    return path


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rooms")
    write_world(MicroWorldConfig(teacher_scenes=3, num_frames=2, image_size=16), root, "teacher")
    return root / "scenes"


def flags(rooms: Path, checkpoint: Path | None, out: Path, *more: str) -> list[str]:
    weights = ["--checkpoint", str(checkpoint)] if checkpoint else []
    return [
        "extract", "--scenes", str(rooms), "--teacher", "vggt", *weights, "--out", str(out),
        "--frames", "2", "--device", "cpu", *more,
    ]  # fmt: skip


def outcome(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> dict[str, Any]:
    capsys.readouterr()  # writing a checkpoint imports DeepSpeed, which logs to stdout
    assert main([*arguments, "--json"]) == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def test_every_scene_becomes_a_file_and_a_second_run_writes_nothing(
    rooms: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = outcome(capsys, flags(rooms, checkpoint, tmp_path / "out"))
    assert first["schema"] == "workflows.extract/1"
    assert len(first["written"]) == 3
    stored = FeatureFolder(tmp_path / "out")
    assert stored.scenes() == first["written"]
    assert stored[first["written"][0]].features.shape == (2, 4, 4, 32)
    second = outcome(capsys, flags(rooms, checkpoint, tmp_path / "out"))
    assert (second["written"], second["kept"]) == ([], first["written"])


def test_grid_layer_and_licence_reach_the_file(
    rooms: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--grid", "2", "--layer", "0", "--licence", "CC BY-NC 4.0")
    written = outcome(capsys, flags(rooms, checkpoint, tmp_path / "out", *more))["written"]
    stored = FeatureFolder(tmp_path / "out").stored(written[0])
    assert stored.features.features.shape == (2, 2, 2, 32)
    assert (stored.header.layer, stored.header.licence) == (0, "CC BY-NC 4.0")


def test_progress_goes_to_stderr(
    rooms: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags(rooms, checkpoint, tmp_path / "out")) == 0
    printed = capsys.readouterr()
    assert "3/3" in printed.err
    assert "3 scenes written" in printed.out


@pytest.mark.parametrize("kind", TINY_KINDS)
def test_every_teacher_yields_features_of_a_folder(
    kind: str, rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = write_tiny_checkpoint(kind, tmp_path / "weights")
    arguments = flags(rooms, weights, tmp_path / "out", "--teacher", kind, "--grid", "2")
    if kind == "flare":  # frames are square, of which its own framing cuts a quarter
        assert main(arguments) == 2
        assert "framing cuts 25% of its frames" in capsys.readouterr().err
        arguments += ["--set", "framing=squash"]
    written = outcome(capsys, arguments)["written"]
    assert len(written) == 3
    stored = FeatureFolder(tmp_path / "out").stored(written[0])
    values = stored.features.features
    assert values.shape[:3] == (2, 2, 2)
    assert values.std() > 0
    assert (stored.header.teacher, len(stored.header.source_digest)) == (kind, 64)
    assert stored.header.preprocessing
    assert stored.header.output


def test_features_made_elsewhere_are_stored_like_any(
    rooms: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = outcome(capsys, flags(rooms, checkpoint, tmp_path / "first"))["written"]
    more = ("--teacher", "precomputed", "--grid", "2", "--layer", "0", "--set", "teacher=vggt")
    again = flags(rooms, tmp_path / "first", tmp_path / "second", *more)
    assert outcome(capsys, again)["written"] == first
    fine = FeatureFolder(tmp_path / "first")[first[0]].features.astype(np.float32)
    coarse = FeatureFolder(tmp_path / "second")[first[0]].features
    pooled = fine.reshape(2, 2, 2, 2, 2, -1).mean((2, 4))
    np.testing.assert_allclose(coarse, pooled, atol=2e-3)


def test_colours_need_no_weights_and_are_means_of_the_students_cells(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = flags(rooms, None, tmp_path / "out", "--teacher", "rgb", "--grid", "8")
    written = outcome(capsys, arguments)["written"]
    assert len(written) == 3
    stored = FeatureFolder(tmp_path / "out").stored(written[0])
    images = RGBDFolder(rooms, 2).load(written[0]).images.reshape(2, 8, 2, 8, 2, 3)
    means = images.mean((2, 4), dtype=np.float32) / 127.5 - 1
    np.testing.assert_allclose(stored.features.features, means, atol=1e-3)
    assert (stored.header.teacher, stored.header.source_digest) == ("rgb", "")


def test_framing_is_a_choice_that_a_folder_does_not_mix(
    rooms: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    squashed = flags(rooms, checkpoint, tmp_path / "out", "--set", "framing=squash")
    assert len(outcome(capsys, squashed)["written"]) == 3
    assert main(flags(rooms, checkpoint, tmp_path / "out", "--set", "framing=crop")) == 2
    complaint = capsys.readouterr().err
    assert "squashed to 64x64" in complaint
    assert "centre-cropped to 64x64" in complaint


def broken(rooms: Path, folder: Path) -> str:
    """A copy of the rooms in which one depth image is cut short; returns its scene."""
    for source in sorted(rooms.rglob("*")):
        target = folder / source.relative_to(rooms)
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    depth = sorted(folder.rglob("*.depth.png"))[2]
    depth.write_bytes(depth.read_bytes()[:60])
    return depth.parent.name


def test_a_bad_scene_stops_the_run_or_is_left_out_as_asked(
    rooms: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = broken(rooms, tmp_path / "rooms")
    arguments = flags(tmp_path / "rooms", checkpoint, tmp_path / "out")
    assert main(arguments) == 2
    assert f"scene {bad}" in capsys.readouterr().err
    done = outcome(capsys, [*arguments, "--on-bad-scene", "skip"])
    assert [each["scene"] for each in done["skipped"]] == [bad]
    assert len(done["written"]) + len(done["kept"]) == 2


def test_without_weights_the_message_says_where_to_get_some(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = flags(rooms, None, tmp_path / "out", "--workspace", str(tmp_path / "nowhere"))
    assert main(arguments) == 2
    complaint = capsys.readouterr().err
    assert "--checkpoint" in complaint
    assert "facebook/VGGT-1B" in complaint
    assert "workflows submit" in complaint
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (("--teacher", "vgt"), "did you mean 'vggt'"),
        (("--teacher", "vgt"), "siglip2"),
        (("--set", "framing=squish"), "framing: expected 'aspect', 'squash' or 'crop', got"),
        (("--set", "framming=squash"), "did you mean 'framing'"),
        (("--set", "framing"), "--set: 'framing' is no FIELD=VALUE"),
        (("--frames", "0"), "--frames: 0 is not above 0"),
        (("--grid", "14"), "14 is finer than the teacher's 4"),
        (("--teacher", "rgb"), "teacher.checkpoint: the model 'rgb' has no weights; leave it out"),
    ],
)
def test_a_wrong_flag_is_refused_before_anything_is_written(
    more: tuple[str, ...], complaint: str, rooms: Path, checkpoint: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert main(flags(rooms, checkpoint, tmp_path / "out", *more)) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(not REDKITCHEN.is_dir(), reason="needs the shared 7-Scenes excerpt")
def test_a_real_scene_is_extracted(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = flags(REDKITCHEN, checkpoint, tmp_path / "out", "--grid", "3")
    assert outcome(capsys, arguments)["written"] == ["redkitchen"]
    features = FeatureFolder(tmp_path / "out")["redkitchen"]
    assert features.features.shape == (2, 3, 3, 32)
    assert features.frame_names[0] == "frame-000000"


def test_features_are_of_the_frames_that_prepare_chooses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = MicroWorldConfig(teacher_scenes=1, num_frames=9, image_size=16)
    write_world(world, tmp_path / "world", "teacher")
    scenes = str(tmp_path / "world/scenes")
    chosen = ["--scenes", scenes, "--frames", "3", "--sampling", "coverage", "--voxel", "0.2"]
    out = ["--out", str(tmp_path / "prepared"), "--grid", "4", "--image-size", "32"]
    assert main(["prepare", *chosen, *out]) == 0
    done = outcome(
        capsys,
        ["extract", *chosen, "--teacher", "rgb", "--grid", "4", "--out", str(tmp_path / "out")],
    )
    [scene] = done["written"]
    names = FeatureFolder(tmp_path / "out")[scene].frame_names
    assert names == PreparedScenes(tmp_path / "prepared")[scene].frame_names
    evenly = RGBDFolder(Path(scenes), 3, 1).load(scene).frame_names
    assert names != evenly
