from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from threedrs_components.scenes.embodiedscan import read_frame_lists
from threedrs_components.scenes.scannet import ScanNet, ScanNetConfig
from threedrs_components.testing.scannet_download import write_scannet_download
from threedrs_workflows.cli import main

SCENES = ["train00000", "train00001", "val00000"]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("download")
    write_scannet_download(root)
    return root


@pytest.fixture
def root(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "download", ignore=shutil.ignore_patterns("world"))


def prepare(root: Path, *flags: str) -> int:
    out = str(root.parent / "data")
    workers = [] if "--workers" in flags else ["--workers", "1"]
    return main(["prepare", "scannet", "--root", str(root), "--out", out, *workers, *flags])


def told(root: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> dict[str, Any]:
    capsys.readouterr()
    prepare(root, "--json", *flags)
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def test_a_download_becomes_what_the_presets_read(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = told(root, capsys)
    assert content["schema"] == "workflows.prepare-scannet/1"
    assert content["made"] == 3 and not content["bad"]
    assert content["scenes"]["val00000"]["proposals"] == len(
        json.loads((root / "../data/metadata/scannet_val_pred_box.json").read_text())[
            "scannet/val00000"
        ]
    )
    data = root.parent / "data"
    assert (data / "metadata/scannetv2-labels.combined.tsv").is_file()
    lists = {
        split: str(data / f"embodiedscan/embodiedscan_infos_{split}.pkl")
        for split in ("train", "val")
    }
    source = ScanNet(
        ScanNetConfig(
            posed_images=str(data / "scannet/posed_images"),
            frame_lists=lists,
            num_frames=2,
        )
    )
    assert source.scenes("train") == SCENES[:2]
    for name in SCENES:
        scene = source.load(name)
        assert scene.frame_names == ("00000", "00030") and scene.objects is not None
        assert scene.axis_alignment[0, 1] == pytest.approx(-0.5)
        ids = json.loads((data / "scannet/posed_images" / name / "boxes.json").read_text())
        assert list(scene.objects.object_ids) == ids["object_ids"]
    boxes = json.loads((data / "metadata/scannet_gt_box.json").read_text())
    assert sorted(boxes) == [f"scannet/{name}" for name in SCENES]
    assert isinstance(boxes["scannet/train00001"], list)
    assert isinstance(boxes["scannet/train00000"], dict)  # one of its objects has vanished


def test_finished_scenes_are_kept_and_later_ones_join_the_lists(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(root, capsys, "--scenes", "val00000")["made"] == 1
    before = (root / "../data/scannet/posed_images/val00000/00000.jpg").stat().st_mtime_ns
    content = told(root, capsys)
    assert (content["made"], content["kept"]) == (2, 1)
    assert (root / "../data/scannet/posed_images/val00000/00000.jpg").stat().st_mtime_ns == before
    boxes = json.loads((root / "../data/metadata/scannet_gt_box.json").read_text())
    assert sorted(boxes) == [f"scannet/{name}" for name in SCENES]
    other = told(root, capsys, "--scenes", "val00000", "--frame-step", "5")
    assert (other["made"], other["others"], other["others_of_other_settings"]) == (1, 2, 2)


def test_a_finished_scene_of_which_a_file_was_emptied_is_made_again(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(root, capsys)
    images = root.parent / "data/scannet/posed_images"
    next((images / "val00000").glob("*.jpg")).write_bytes(b"")
    next((images / "train00000").glob("*.png")).unlink()
    content = told(root, capsys)
    assert (content["made"], content["kept"]) == (2, 1)


def test_a_file_where_data_should_go_is_told(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    flags = ["--root", str(root), "--out", str(tmp_path / "file"), "--workers", "1"]
    assert main(["prepare", "scannet", *flags]) == 75
    assert "a file is in the way" in capsys.readouterr().err


def test_an_unfinished_scene_is_made_again_and_what_a_killed_call_left_is_removed(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(root, capsys)
    images = root.parent / "data/scannet/posed_images"
    (images / "val00000/conversion.json").unlink()
    (images / ".train00000.0123").mkdir()
    content = told(root, capsys)
    assert (content["made"], content["kept"]) == (1, 2)
    assert not (images / ".train00000.0123").exists()


def test_a_bad_scene_is_named_and_costs_no_other(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = root / "scans/train00001/train00001.sens"
    whole = stream.read_bytes()
    stream.write_bytes(whole[:9000])
    assert prepare(root, "--on-bad-scene", "refuse") == 2
    assert "train00001: frame" in capsys.readouterr().err
    assert prepare(root, "--scenes", *SCENES, "../../etc") == 3
    shown = capsys.readouterr()
    assert re.search(r"bad train00001: frame \d+ is cut off: .* ends at byte 9000", shown.out)
    assert "bad ../../etc: is no name of a scene" in shown.out
    assert "1 made, 1 kept, 2 bad" in shown.out
    report = json.loads((root.parent / "data/scannet/preparation.json").read_text())
    assert sorted(report["scenes"]) == ["train00000", "val00000"]
    assert "train00001" in report["bad"]
    stream.write_bytes(whole)
    assert prepare(root) == 0
    report = json.loads((root.parent / "data/scannet/preparation.json").read_text())
    assert sorted(report["scenes"]) == SCENES and "train00001" not in report["bad"]


def test_without_a_usable_scene_nothing_is_listed(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(root, "--scenes", "scene0000_00") == 2
    assert "no scene is usable; the first, scene0000_00: has no folder" in capsys.readouterr().err
    assert not (root.parent / "data/metadata").exists()


def test_an_empty_list_of_scenes_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = root / "empty.txt"
    empty.write_text("\n")
    assert prepare(root, "--scenes", str(empty)) == 2
    assert "no scene is asked for: what --scenes names is empty" in capsys.readouterr().err


def test_a_picture_that_claims_to_be_huge_costs_no_other_scene(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stream = root / "scans/train00000/train00000.sens"
    whole = stream.read_bytes()
    size = whole.index(b"\xff\xc0") + 5
    stream.write_bytes(whole[:size] + b"\xff\xff\xff\xff" + whole[size + 4 :])
    content = told(root, capsys)
    assert content["made"] == 2 and "DecompressionBomb" in content["bad"]["train00000"]


def test_without_streams_annotations_are_followed_and_a_bad_one_leaves_the_scene(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.move(root / "mask", root / "later")
    assert told(root, capsys)["scenes"]["val00000"]["proposals"] is None
    for stream in root.glob("scans/*/*.sens"):
        stream.unlink()
    shutil.move(root / "later", root / "mask")
    (root / "scans/train00001/train00001.aggregation.json").write_text("[]")
    content = told(root, capsys)
    assert (content["made"], content["kept"]) == (1, 1)
    assert content["scenes"]["val00000"]["proposals"] > 0
    assert content["bad"]["train00001"].endswith("; lists hold it as it was made before")
    report = json.loads((root.parent / "data/scannet/preparation.json").read_text())
    assert sorted(report["scenes"]) == SCENES and list(report["bad"]) == ["train00001"]


def test_splits_must_come_from_somewhere(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split in ("train", "val"):
        (root / f"scannetv2_{split}.txt").rename(root.parent / f"mine_{split}.txt")
    assert prepare(root) == 2
    assert "or name them with --splits" in capsys.readouterr().err
    lists = [str(root.parent / f"mine_{split}.txt") for split in ("train", "val")]
    assert prepare(root, "--splits", *lists) == 0


def test_scenes_of_the_test_split_have_frames_and_proposals_but_no_boxes(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "scannetv2_val.txt").rename(root / "scannetv2_test.txt")
    (root / "scans_test").mkdir()
    folder = (root / "scans/val00000").rename(root / "scans_test/val00000")
    for name in (".aggregation.json", "_vh_clean_2.0.010000.segs.json"):
        (folder / f"val00000{name}").unlink()
    (folder / "val00000.txt").write_text("colorHeight = 968\n")
    assert prepare(root) == 0
    shown = capsys.readouterr().out
    assert "look at val00000: no axisAlignment; it stays as it was scanned" in shown
    data = root.parent / "data"
    listed = read_frame_lists(data / "embodiedscan/embodiedscan_infos_test.pkl")["val00000"]
    assert (listed.axis_alignment == np.eye(4)).all() and len(listed.frame_names) == 3
    assert "scannet/val00000" not in json.loads((data / "metadata/scannet_gt_box.json").read_text())
    assert (data / "metadata/scannet_test_pred_box.json").is_file()


def test_infos_decide_frames_and_stay_as_they_are(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(root, capsys)
    data = root.parent / "data"
    infos = data / "embodiedscan/embodiedscan_infos_val.pkl"
    before = infos.read_bytes()
    content = told(root, capsys, "--infos", str(infos))
    assert list(content["scenes"]) == ["val00000"] and content["made"] == 1
    assert infos.read_bytes() == before
    assert read_frame_lists(infos)["val00000"].frame_names == ("00000", "00020", "00030")


def test_a_file_of_somebody_else_is_not_replaced(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = root.parent / "data/metadata/scannet_gt_box.json"
    boxes.parent.mkdir(parents=True)
    boxes.write_text("{}")
    assert prepare(root) == 2
    assert "was not written by `workflows prepare scannet`" in capsys.readouterr().err
    assert boxes.read_text() == "{}"
    assert not list((root.parent / "data/scannet/posed_images").iterdir())


def test_several_processes_do_as_one(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = told(root, capsys, "--workers", "2")
    assert content["made"] == 3 and list(content["scenes"]) == SCENES


@pytest.mark.ray
def test_ray_does_as_one_process(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "scans/train00001/train00001.txt").unlink()
    content = told(root, capsys, "--ray", "local")
    assert content["made"] == 2 and "train00001" in content["bad"]


def test_wrong_flags_are_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(root, "--frame-step", "0") == 2
    assert "--frame-step: Input should be greater" in capsys.readouterr().err
    assert prepare(root, "--workers", "0") == 2
    assert "--workers: must be 1 or more" in capsys.readouterr().err
    assert prepare(root, "--frames", "3") == 2
    assert "workflows prepare scannet: unknown argument '--frames'" in capsys.readouterr().err


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["prepare", "scannet", "--help"])
    shown = capsys.readouterr().out
    assert "usage: workflows prepare scannet" in shown and "exit codes:" in shown
