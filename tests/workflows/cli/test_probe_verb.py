"""`workflows probe` on folders of posed RGB-D frames."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from threedrs_components.students.checkpoints import save_student
from threedrs_components.students.fusion_settings import FusionSettings
from threedrs_components.teachers.vggt.architecture import VGGTArchitecture
from threedrs_components.teachers.vggt.model import VGGT
from threedrs_components.teachers.weights import write_tensors
from threedrs_components.testing.synthetic import random_student
from threedrs_workflows.cli import main, probe

SHARED = Path(os.environ.get("THREEDRS_SHARED", Path(__file__).parents[3] / ".." / "shared"))
REDKITCHEN = SHARED / "data" / "redkitchen"


def write_scene(folder: Path, frames: int = 3) -> Path:
    """Cameras side by side before a coloured wall, as 7-Scenes files."""
    folder.mkdir(parents=True)
    np.savetxt(folder / "camera-intrinsics.txt", [[20, 0, 16], [0, 20, 12], [0, 0, 1]])
    for number in range(frames):
        stem, pose = folder / f"frame-{number:06d}", np.eye(4)
        pose[0, 3] = shift = 0.2 * number
        np.savetxt(f"{stem}.pose.txt", pose)
        Image.fromarray(np.full((24, 32), 2000, np.uint16)).save(f"{stem}.depth.png")
        x = np.tile((np.arange(32) - 16) / 10 + shift, (24, 1))
        colour = np.stack([np.sin(3 * x), np.cos(3 * x), np.sin(x)], axis=-1)
        Image.fromarray(np.uint8(127 * (colour + 1))).save(f"{stem}.color.png")
    return folder


def probed(capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, Any]:
    assert main(["probe", "--json", *flags]) == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def refusal(capsys: pytest.CaptureFixture[str], flags: Sequence[str], code: int) -> str:
    """What is printed when the verb ends with this exit code."""
    assert main(["probe", *flags]) == code
    printed = capsys.readouterr()
    assert not printed.out
    return printed.err


def test_json_has_every_scene_and_the_total(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("hall", "attic"):
        write_scene(tmp_path / name)
    content = probed(capsys, "--scenes", str(tmp_path), "--frames", "3", "--grid", "4")
    assert content["schema"] == "workflows.probe/1"
    assert [scene["scene"] for scene in content["scenes"]] == ["attic", "hall"]
    for scene in (*content["scenes"], content["total"]):
        assert {*probe.COLUMNS} <= scene.keys()
    assert content["scenes"][0]["margin"] > 0.2
    assert content["total"]["pairs"] == 2 * content["scenes"][0]["pairs"]
    assert content["total"]["score"] == pytest.approx(content["scenes"][0]["score"])


def test_the_table_has_a_line_per_scene(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_scene(tmp_path / "hall")
    assert main(["probe", "--scenes", str(folder), "--grid", "4"]) == 0
    printed = capsys.readouterr()
    assert [line.split()[0] for line in printed.out.splitlines()] == ["scene", "hall", "pairs:"]
    assert "hall: only 3 distinct frames of 32" in printed.err


def test_a_scene_without_pairs_has_null_scores_and_advice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scene(tmp_path / "hall")
    write_scene(tmp_path / "attic", frames=1)
    content = probed(capsys, "--scenes", str(tmp_path), "--min-frames", "1")
    assert content["scenes"][0]["score"] is None
    assert "take more --frames or a larger --voxel" in content["doubts"]["attic"]


def test_no_pairs_at_all_are_no_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_scene(tmp_path / "hall", frames=1)
    message = refusal(capsys, ["--scenes", str(folder), "--frames", "1"], 2)
    assert "in none of 1 scenes is a voxel seen from two frames" in message


def test_frames_that_contradict_their_poses_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = write_scene(tmp_path / "wrong", frames=6)
    for number in range(6):  # each depth 2 m nearer than in the frame before, along one wall
        depth = np.full((24, 32), 1000 + 1500 * (number % 2), np.uint16)
        Image.fromarray(depth).save(wrong / f"frame-{number:06d}.depth.png")
    message = refusal(capsys, ["--scenes", str(wrong), "-q"], 2)
    assert "contradicts itself: agreement of overlapping views is" in message
    write_scene(tmp_path / "hall")
    content = probed(capsys, "--scenes", str(tmp_path), "--on-bad-scene", "skip")
    assert [scene["scene"] for scene in content["skipped"]] == ["wrong"]


def test_pictures_of_other_frames_are_told_behind_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_scene(tmp_path / "hall", frames=4)
    noise = np.random.default_rng(0)
    for path in folder.glob("*.color.png"):
        Image.fromarray(noise.integers(0, 255, (24, 32, 3), np.uint8)).save(path)
    assert main(["probe", "--scenes", str(folder), "-q"]) == 0
    page = capsys.readouterr().out
    assert "! 1 of 1 scenes: do not read their scores" in page
    assert "margin of mean colours" in page
    assert probed(capsys, "--scenes", str(folder))["doubts"].keys() == {"hall"}


def test_pictures_that_agree_leave_no_doubt(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_scene(tmp_path / "hall")
    assert probed(capsys, "--scenes", str(folder))["doubts"] == {}


def test_a_bad_scene_is_refused_with_its_file_and_a_cure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scene(tmp_path / "hall")
    attic = write_scene(tmp_path / "attic")
    (attic / "frame-000001.pose.txt").unlink()
    message = refusal(capsys, ["--scenes", str(tmp_path)], 2)
    assert message.startswith("scene attic:")
    assert "1 x pose file is missing (first frame-000001)" in message
    assert str(attic) in message and "--on-bad-scene skip" in message


def test_a_bad_scene_can_be_skipped_and_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scene(tmp_path / "hall")
    (write_scene(tmp_path / "attic") / "frame-000001.pose.txt").unlink()
    content = probed(capsys, "--scenes", str(tmp_path), "--on-bad-scene", "skip")
    assert [scene["scene"] for scene in content["scenes"]] == ["hall"]
    assert [scene["scene"] for scene in content["skipped"]] == ["attic"]


def test_nothing_left_after_skipping_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (write_scene(tmp_path / "attic") / "frame-000001.pose.txt").unlink()
    message = refusal(capsys, ["--scenes", str(tmp_path), "--on-bad-scene", "skip"], 2)
    assert "none of 1 scenes is usable" in message


def test_a_missing_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refusal(capsys, ["--scenes", str(tmp_path / "nowhere")], 2)
    assert "nowhere: no such folder" in message


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "vggt"], "--checkpoint: the model 'vggt' needs weights"),
        (["--checkpoint", "x"], "--checkpoint: the model 'rgb' has no weights"),
        (["--model", "vgt", "--checkpoint", "x"], "vggt"),
    ],
)
def test_models_and_weights_must_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    folder = write_scene(tmp_path / "hall")
    assert message in refusal(capsys, ["--scenes", str(folder), *flags], 2)


@pytest.mark.parametrize("model", ["vggt", "mae", "llava_video"])
def test_weights_that_are_not_there_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str
) -> None:
    folder, nothing = write_scene(tmp_path / "hall"), str(tmp_path / "nothing")
    flags = ["--scenes", str(folder), "--model", model, "--checkpoint", nothing]
    assert nothing in refusal(capsys, flags, 2)


@pytest.mark.parametrize(
    ("flag", "value"), [("--voxel", "0"), ("--voxel", "wide"), ("--frames", "0"), ("--grid", "a")]
)
def test_senseless_numbers_are_refused(
    flag: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refusal(capsys, ["--scenes", "x", flag, value], 2)
    assert f"argument {flag}: {value} is not" in message


def test_a_student_is_probed_at_its_own_grid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    student = random_student()
    save_student(student, tmp_path / "student")
    folder = write_scene(tmp_path / "hall")
    flags = ["--model", "llava_video", "--checkpoint", str(tmp_path / "student")]
    content = probed(capsys, "--scenes", str(folder), *flags)
    assert content["grid"] == student.grid
    assert content["scenes"][0]["tokens"] == 3 * student.grid**2
    places = ["tower", "projector", "2", "-1"]
    scores = [
        probed(capsys, "--scenes", str(folder), *flags, "--layer", place)["total"]["score"]
        for place in places
    ]
    assert len(set(scores)) == 4 and scores[-1] == content["total"]["score"]
    message = refusal(capsys, ["--scenes", str(folder), "--layer", "9", *flags], 2)
    assert "--layer: layer 9: the student has 3 layers: 0 to 3" in message
    message = refusal(capsys, ["--scenes", str(folder), "--grid", "14", *flags], 2)
    assert "too few for a grid of 14" in message
    student.fuse(FusionSettings(mode="add"), 8, {"teacher": "vggt"})
    save_student(student, tmp_path / "student")
    message = refusal(capsys, ["--scenes", str(folder), *flags], 2)
    assert "--checkpoint" in message and "reads a teacher's features beside its frames" in message


def test_a_teacher_is_probed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    widths = VGGTArchitecture(
        embed_dim=16, heads=2, patch_embed_depth=1, depth=1, dpt_layers=(0, 0, 0, 0)
    )
    weights = tmp_path / "model.safetensors"
    write_tensors(weights, VGGT(widths))
    flags = ["--model", "vggt", "--checkpoint", str(weights)]
    content = probed(capsys, "--scenes", str(write_scene(tmp_path / "hall")), *flags)
    assert content["scenes"][0]["pairs"] > 0
    assert content["scenes"][0]["tokens"] == 3 * content["grid"] ** 2
    message = refusal(capsys, ["--scenes", str(tmp_path / "hall"), *flags, "--layer", "tower"], 2)
    assert "--layer: 'tower' is a place in a student; a teacher has blocks" in message
    message = refusal(capsys, ["--scenes", "x", "--layer", "towr"], 2)
    assert "argument --layer: 'towr' is no layer: a whole number, or tower or projector" in message


def test_the_picture_shows_two_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "out.png"
    flags = ["--scenes", str(write_scene(tmp_path / "hall")), "--picture", str(out)]
    assert main(["probe", *flags]) == 0
    assert "frame-000000 and frame-000002 of hall" in capsys.readouterr().err
    with Image.open(out) as picture:
        assert picture.width > 2 * picture.height


def test_a_picture_without_correspondences_is_not_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.png"
    write_scene(tmp_path / "attic", frames=1)
    write_scene(tmp_path / "hall")
    flags = ["--scenes", str(tmp_path), "--picture", str(out), "--min-frames", "1"]
    assert main(["probe", *flags]) == 0
    assert "not drawn, no two frames of attic" in capsys.readouterr().err
    assert not out.exists()


def test_a_picture_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_scene(tmp_path / "hall")
    message = refusal(capsys, ["--scenes", str(folder), "--picture", str(folder)], 75)
    assert "the picture cannot be written" in message


def test_help_needs_no_torch() -> None:
    asked = f"import sys, {probe.__name__}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0


@pytest.mark.skipif(not REDKITCHEN.is_dir(), reason="the redkitchen frames are not on this machine")
def test_a_real_room_corresponds_in_colour(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--frames", "8", "--picture", str(tmp_path / "out.png")]
    content = probed(capsys, "--scenes", str(REDKITCHEN), *flags)
    total = content["total"]
    assert total["frames"] == 8 and total["tokens"] == 8 * 196
    assert total["pairs"] > 1e6
    assert total["score"] > 0.5 and total["margin"] > 0.4
    assert (tmp_path / "out.png").is_file()


@pytest.mark.parametrize(
    ("flags", "part"),
    [
        (("--model", "vgtt"), "did you mean 'vggt'?"),
        (("--model", "nothing"), "known: "),
        (("--layer", "99"), "has no layers"),
        (("--grid", "100000"), "do not fit across frames of 32 x 24 pixels"),
    ],
)
def test_a_model_layer_or_grid_that_cannot_be_is_refused(
    flags: tuple[str, ...], part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_scene(tmp_path / "wall")
    message = refusal(capsys, ["--scenes", str(folder), *flags], 2)
    assert message.startswith(flags[0])
    assert part in message


def test_colours_are_probed_at_finer_grids_than_the_papers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_scene(tmp_path / "wall")
    content = probed(capsys, "--scenes", str(folder), "--grid", "20")
    assert content["scenes"][0]["tokens"] == 3 * 20**2
