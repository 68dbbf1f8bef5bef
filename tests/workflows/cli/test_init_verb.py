"""A first grid for what one has: it is valid at once, and nothing is overwritten."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from threedrs_components.testing.scannet_files import write_scannet
from threedrs_components.testing.scene_sources import write_world
from threedrs_workflows.cli import main
from threedrs_workflows.grid.cells import load_cells


def rooms(folder: Path) -> None:
    write_world(folder)


def prepared_scannet(folder: Path) -> None:
    write_world(folder / "world")
    write_scannet(folder / "world", folder)


def downloaded_scannet(folder: Path) -> None:
    stream = folder / "scans" / "scene0000_00" / "scene0000_00.sens"
    stream.parent.mkdir(parents=True)
    stream.touch()


def clips(folder: Path) -> None:
    (folder / "scannet").mkdir(parents=True)
    (folder / "scannet" / "scene0011_00.mp4").touch()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    for name in ("SCENES", "ANNOTATIONS", "DATA", "GPUS", "CLIPS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "work"


def rooms_with_a_video(folder: Path) -> None:
    rooms(folder)
    room = next(path for path in (folder / "scenes", folder) if path.is_dir())
    first = sorted(path for path in room.iterdir() if path.is_dir())[0]
    (first / "preview.mp4").touch()
    (folder / "videos").mkdir()
    (folder / "videos" / "preview.mp4").touch()


SOURCES: dict[str, tuple[Callable[[Path], None] | None, str, int]] = {
    "micro": (None, "micro", 3),
    "rooms": (rooms, "rgbd_folder", 2),
    "rooms with a video": (rooms_with_a_video, "rgbd_folder", 2),
    "prepared": (prepared_scannet, "scannet", 2),
    "downloaded": (downloaded_scannet, "scannet", 2),
    "clips": (clips, "videos", 1),
}


@pytest.mark.parametrize("case", SOURCES)
def test_the_grid_fits_what_is_there(
    case: str, here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write, kind, cells = SOURCES[case]
    flags = [] if write is None else ["--scenes", str(tmp_path / "data")]
    if write is not None:
        write(tmp_path / "data")
    assert main(["init", "mine", *flags, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    grid = load_cells(here / "mine.yaml")
    assert len(grid.cells) == len(told["grid"]["cells"]) == cells
    assert {cell.experiment.scenes.kind for cell in grid.cells} == {kind}
    assert main(["validate", "mine.yaml", "--quiet"]) == 0


def test_what_is_missing_is_told(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    downloaded_scannet(tmp_path / "scannet")
    assert main(["init", "mine", "--scenes", str(tmp_path / "scannet")]) == 0
    assert "workflows prepare scannet --root" in capsys.readouterr().out
    rooms(tmp_path / "rooms")
    (tmp_path / "rooms" / "splits.json").write_text('{"val": []}')
    assert main(["init", "ours", "--scenes", str(tmp_path / "rooms")]) == 0
    assert (
        "splits.json, which lists scenes by split and lacks text, probe" in capsys.readouterr().out
    )
    assert load_cells(here / "ours.yaml").base.benchmarks.names == ("scanrefer", "scanqa")


def test_questions_about_clips_are_missing_until_they_are_there(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips(tmp_path / "clips")
    missing = f"lay VSI-Bench's questions, test.jsonl or test.parquet, into {tmp_path / 'clips'}"
    assert main(["init", "mine", "--scenes", str(tmp_path / "clips")]) == 0
    assert missing in capsys.readouterr().out
    (tmp_path / "clips" / "test.parquet").touch()
    assert main(["init", "ours", "--scenes", str(tmp_path / "clips")]) == 0
    assert "VSI-Bench's questions" not in capsys.readouterr().out


def test_a_stray_video_is_no_data_set_unless_questions_say_so(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home" / "downloads").mkdir(parents=True)
    (tmp_path / "home" / "downloads" / "party.mp4").touch()
    flags = ["--scenes", str(tmp_path / "home")]
    assert main(["init", "mine", *flags]) == 2
    told = capsys.readouterr().err
    assert "1 clip in downloads/, and no questions about it" in told and "scannetpp/" in told
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "test.jsonl").touch()
    assert main(["init", "mine", *flags, "--annotations", str(tmp_path / "own")]) == 0
    assert load_cells(here / "mine.yaml").base.benchmarks.annotations == str(tmp_path / "own")


def test_no_first_grid_sets_anything_in_vain(here: Path, tmp_path: Path) -> None:
    for number, (write, *_) in enumerate(SOURCES.values()):
        flags = []
        if write is not None:
            write(tmp_path / str(number))
            flags = ["--scenes", str(tmp_path / str(number))]
        assert main(["init", f"grid-{number}", *flags, "--quiet"]) == 0
        assert not load_cells(here / f"grid-{number}.yaml").unread()


def test_a_folder_may_have_any_name(here: Path, tmp_path: Path) -> None:
    folder = tmp_path / 'my "rooms" #2'
    clips(folder)
    assert main(["init", "mine", "--scenes", str(folder), "--quiet"]) == 0
    assert load_cells(here / "mine.yaml").base.scenes.data()["scenes.root"] == str(folder)


@pytest.mark.parametrize("name", ["2026", "on"])
def test_a_name_that_yaml_takes_for_something_else_stays_a_name(name: str, here: Path) -> None:
    assert main(["init", name, "--quiet"]) == 0
    assert load_cells(here / f"{name}.yaml").name == name


def test_only_videos_are_counted_and_commands_can_be_copied(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips(tmp_path / "clips")
    for name in ("meta.json", "readme.txt", "._scene0011_00.mp4"):
        (tmp_path / "clips" / "scannet" / name).touch()
    assert main(["init", "mine", "--scenes", str(tmp_path / "clips")]) == 0
    assert "1 clip\n" in capsys.readouterr().out
    downloaded_scannet(tmp_path / "my scans")
    assert main(["init", "ours", "--scenes", str(tmp_path / "my scans")]) == 0
    assert f"--root '{tmp_path / 'my scans'}' --out '" in capsys.readouterr().out


def test_nothing_is_overwritten(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mine.yaml").write_text("mine")
    assert main(["init", "mine"]) == 2
    assert "is there already" in capsys.readouterr().err
    assert (here / "mine.yaml").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["Mine_1"], "lower-case letters"),
        (["../mine"], "lower-case letters"),
        (["mine.yaml"], "the file's ending is added"),
        (["a" * 300], "300 letters"),
        (["mine", "--scenes", __file__], "is no folder"),
        (["mine", "--scenes", "nowhere"], "no such folder"),
        (["mine", "--scenes", "."], "nothing here is understood"),
        (["mine", "--annotations", "nowhere"], "no such folder"),
        (["mine", "--annotations", "."], "has no effect here"),
    ],
)
def test_mistakes_leave_no_file(
    words: list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", *words]) == 2
    assert said in capsys.readouterr().err
    assert not list(here.parent.rglob("*.yaml"))


def test_the_folder_of_annotations_is_taken(here: Path, tmp_path: Path) -> None:
    rooms(tmp_path / "rooms")
    (tmp_path / "questions").mkdir()
    (tmp_path / "questions" / "scanqa_train.json").write_text("[]")
    flags = ["--scenes", str(tmp_path / "rooms"), "--annotations", str(tmp_path / "questions")]
    assert main(["init", "mine", *flags, "--quiet"]) == 0
    benchmarks = load_cells(here / "mine.yaml").base.benchmarks
    assert benchmarks.names == ("scanqa",)
    assert benchmarks.annotations == str(tmp_path / "questions")


def test_one_scene_is_no_grid_and_the_folder_around_it_is_named(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rooms(tmp_path / "data")
    scene = sorted((tmp_path / "data" / "scenes").iterdir())[0]
    assert main(["init", "mine", "--scenes", str(scene)]) == 2
    told = capsys.readouterr().err
    assert f"{scene}: is one scene" in told
    assert f"--scenes {tmp_path / 'data'} " in told
    assert not (here / "mine.yaml").exists()
