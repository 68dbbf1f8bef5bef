from __future__ import annotations

import json
from pathlib import Path

import pytest

from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.scene import make_scene
from threedrs_components.scenes.micro.write import write_scene
from threedrs_components.scenes.prepared import PreparedScenes
from threedrs_workflows.cli import main

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
    assert "scene val00001: pose file is missing" in capsys.readouterr().err
    assert _prepare(rooms, "--on-bad-scene", "skip") == 0
    assert "skipped val00001: pose file is missing" in capsys.readouterr().out


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
