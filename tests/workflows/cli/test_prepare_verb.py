from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.scene import make_scene
from threedrs_components.scenes.micro.write import write_scene
from threedrs_components.scenes.prepared import PreparedScenes
from threedrs_components.scenes.rgbd_folder import RGBDFolderConfig
from threedrs_workflows.cli import main
from threedrs_workflows.cli.scene_arguments import MILLIMETRES, MIN_FRAMES

CONFIG = MicroWorldConfig(image_size=16, num_frames=3)


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    for index in range(2):
        scene = make_scene(CONFIG, "val", index)
        write_scene(scene, tmp_path / "rooms" / scene.scene_id, with_instances=False)
    return tmp_path / "rooms"


def _prepare(rooms: Path, *flags: str) -> int:
    out = str(rooms.parent / "out")
    sizes = ["--grid", "4", "--image-size", "32", "--frames", "3"]
    return main(["prepare", "--scenes", str(rooms), "--out", out, *sizes, *flags])


def test_every_scene_is_written_and_counted(
    rooms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _prepare(rooms, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["schema"] == "workflows.prepare/1"
    assert [scene["scene"] for scene in content["scenes"]] == ["val00000", "val00001"]
    assert content["scenes"][0]["tokens"] == content["scenes"][0]["tokens_with_depth"] == 48
    assert PreparedScenes(rooms.parent / "out")["val00000"].images.shape == (3, 32, 32, 3)


def test_a_bad_scene_stops_the_command_unless_it_may_be_skipped(
    rooms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (rooms / "val00001" / "frame-000001.pose.txt").unlink()
    assert _prepare(rooms) == 2
    assert "scene val00001: 2 of 3 frames are usable" in capsys.readouterr().err
    assert _prepare(rooms, "--on-bad-scene", "skip") == 0
    assert "skipped val00001: 2 of 3 frames are usable" in capsys.readouterr().out
    assert _prepare(rooms, "--min-frames", "2") == 0
    told = "scene val00001: 1 frames left out: 1 x pose file is missing (first frame-000001)"
    printed = capsys.readouterr().out
    assert told in printed and "`workflows probe` counts those of the depth images" in printed


def test_what_contradicts_itself_is_refused_or_told(
    rooms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in rooms.glob("*/*.pose.txt"):
        np.savetxt(path, np.linalg.inv(np.loadtxt(path)))
    assert _prepare(rooms) == 2
    assert "they are world-to-camera" in capsys.readouterr().err
    assert _prepare(rooms, "--checks", "tell", "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert any("they are world-to-camera" in line for line in content["warnings"])
    report = json.loads((rooms.parent / "out" / "preparation.json").read_text())
    assert report["worst"] == content["checks"] and [*report["scenes"]] == ["val00000", "val00001"]


def test_only_what_would_come_out_the_same_is_kept(
    rooms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other settings, another scene of the same name, or a damaged file: made again, and told."""

    def made() -> list[str]:
        return [str(path) for path in sorted((rooms.parent / "out").glob("*.safetensors"))]

    def remade(*flags: str) -> list[str]:
        assert _prepare(rooms, "--json", *flags) == 0
        return list(json.loads(capsys.readouterr().out)["remade"])

    assert remade() == []
    before = [Path(path).stat().st_mtime_ns for path in made()]
    assert remade("--on-bad-scene", "skip") == []
    assert [Path(path).stat().st_mtime_ns for path in made()] == before
    assert remade("--voxel", "0.2") == ["val00000", "val00001"]
    shutil.rmtree(rooms / "val00001")
    scene = make_scene(CONFIG, "val", 7)
    write_scene(scene, rooms / "val00001", with_instances=False)
    assert remade("--voxel", "0.2") == ["val00001"]
    Path(made()[0]).write_bytes(b"damaged")
    assert remade("--voxel", "0.2") == ["val00000"]


def test_a_file_where_the_output_should_go_is_told(
    rooms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (rooms.parent / "out").write_text("")
    assert _prepare(rooms) == 75
    assert "out: cannot hold prepared scenes: File exists" in capsys.readouterr().err


def test_a_value_out_of_range_names_its_flag(
    rooms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _prepare(rooms, "--voxel", "0") == 2
    assert "--voxel: Input should be greater than 0" in capsys.readouterr().err


def test_defaults_of_flags_are_those_of_grids() -> None:
    settings = RGBDFolderConfig(root="rooms")
    assert (settings.depth_scale, settings.min_frames) == (MILLIMETRES, MIN_FRAMES)


def test_proposals_of_other_scenes_are_refused(
    rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "boxes.json").write_text('{"scannet/scene9999_00": [[0, 0, 0, 1, 1, 1]]}')
    flags = ("--proposals", str(tmp_path / "boxes.json"))
    assert _prepare(rooms, *flags) == 2
    assert "holds boxes of none of the scenes; of scene9999_00" in capsys.readouterr().err


def test_frames_are_chosen_by_what_they_see_and_it_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(2):
        scene = make_scene(CONFIG.model_copy(update={"num_frames": 9}), "val", index)
        write_scene(scene, tmp_path / "rooms" / scene.scene_id, with_instances=False)
    rooms = tmp_path / "rooms"
    assert _prepare(rooms, "--json") == 0
    assert json.loads(capsys.readouterr().out)["coverage"] == {}
    assert _prepare(rooms, "--candidates", "9", "--json") == 0
    evenly = json.loads(capsys.readouterr().out)["coverage"]
    assert evenly["chosen"] == evenly["uniform"]
    assert _prepare(rooms, "--sampling", "coverage", "--json") == 0
    coverage = json.loads(capsys.readouterr().out)["coverage"]
    assert coverage["uniform"] == evenly["uniform"]
    assert coverage["chosen"]["mean"] > evenly["chosen"]["mean"]
    report = json.loads((tmp_path / "out" / "preparation.json").read_text())
    assert report["coverage"] == coverage
    assert report["scenes"]["val00000"]["coverage"]["candidates"] == 9
    assert _prepare(rooms, "--sampling", "coverage") == 0
    told = capsys.readouterr().out
    assert f"voxels seen by the frames  {coverage['chosen']['mean']:.1%} on average" in told
    assert f"as many, evenly spread     {coverage['uniform']['mean']:.1%} on average" in told
    assert _prepare(rooms, "--candidates", "2") == 2
    assert "--candidates: 2 are fewer than the 3 that are kept" in capsys.readouterr().err
