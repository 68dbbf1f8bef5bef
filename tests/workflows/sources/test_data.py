"""`workflows data`: the catalogue covers what presets and loaders read; a folder is judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from threedrs_components.benchmarks.registry import BENCHMARKS, QUESTION_SETS
from threedrs_components.students.registry import STUDENTS
from threedrs_components.teachers.registry import TEACHERS
from threedrs_components.testing.released_files import write_data
from threedrs_platform.errors import StorageError
from threedrs_workflows.cli import main
from threedrs_workflows.cli.data import MISSING, WRONG
from threedrs_workflows.sources import fetch
from threedrs_workflows.sources.catalogue import catalogue, sources_of_kind
from threedrs_workflows.sources.check import GridState, check_files, check_grids, sources_of

pytestmark = pytest.mark.whole

MADE_ELSEWHERE = ("precomputed", "conversations")
"""Features of somebody's own model, and questions of his own."""
QUESTIONS = {"scenes", "annotations", "training data"}
"""Groups of sources that hold questions."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write_data(root, teachers=("vggt", "dinov2"))
    return root


@pytest.fixture(scope="module")
def grids(data: Path) -> dict[str, GridState]:
    return {state.grid: state for state in check_grids(data)}


def test_everything_a_grid_lacks_has_a_source(tmp_path: Path) -> None:
    """A preset that names a new file without a word of where it is from fails here."""
    states = list(check_grids(tmp_path))
    assert len(states) >= 13
    for state in states:
        assert not state.faults and state.missing, state
        for path in state.missing:
            assert sources_of([path]), (state.grid, path)


def test_every_kind_of_model_has_a_source() -> None:
    """A new kind gets a source of its name in catalogue.yaml, or its name in `kinds` of one."""
    groups = {
        "students": [*STUDENTS],
        "teachers": [kind for kind in TEACHERS if TEACHERS[kind].weights],
        "questions": [*BENCHMARKS, *QUESTION_SETS],
    }
    for group, kinds in groups.items():
        allowed = QUESTIONS if group == "questions" else {group}
        for kind in kinds:
            found = [catalogue()[name] for name in sources_of_kind(kind)]
            assert kind in MADE_ELSEWHERE or {source.group for source in found} & allowed, kind


def test_every_kind_that_a_source_names_is_one() -> None:
    known = {*STUDENTS, *TEACHERS, *BENCHMARKS, *QUESTION_SETS}
    for name, source in catalogue().items():
        assert known.issuperset(source.kinds), name
        assert source.group not in ("students", "teachers") or known & {name, *source.kinds}, name


def test_a_source_of_a_student_names_the_repository_that_its_kind_does() -> None:
    for kind in STUDENTS:
        told = " ".join(STUDENTS[kind].published.values())
        hubs = [catalogue()[name].hub for name in sources_of_kind(kind)]
        assert any(hub and hub.repository in told for hub in hubs), kind


def test_a_whole_folder_lets_its_grids_run(data: Path, grids: dict[str, GridState]) -> None:
    assert grids["table1"].can_run
    assert {"scannet", "scanrefer", "llava-video", "vggt"} <= {*grids["table1"].reads}
    assert grids["table4"].missing == (
        "models/FLARE/geometry_pose.pth",
        "models/siglip2-so400m-patch14-224",
        "models/vit-mae-large",
    )
    assert grids["table4"].sources == ("flare", "mae", "siglip2")


def test_a_missing_annotation_file_is_told_though_its_folder_is_there(data: Path) -> None:
    path = data / "annotations/ScanQA_v1.0_val.json"
    kept = path.rename(path.with_suffix(".away"))
    try:
        [state] = [each for each in check_grids(data) if each.grid == "table1"]
    finally:
        kept.rename(path)
    assert state.missing == ("annotations/ScanQA_v1.0_val.json",)
    assert state.sources == ("scanqa",)


def test_files_of_another_revision_or_size_are_wrong(data: Path) -> None:
    states = {state.path: state for state in check_files(data)}
    revision = states["annotations/ScanRefer_filtered_val.json"]
    assert (revision.state, revision.records) == ("wrong", _count(data))
    assert "the published revision has 9,508" in revision.note
    assert "5,026,367,224" in states["models/VGGT-1B/model.safetensors"].note
    assert states["models/vit-mae-large"].state == "missing"
    posed = states["scannet/posed_images"]
    assert (posed.state, posed.note) == ("present", "5 of 1,513 scenes")
    assert len(states["metadata/scannet_gt_box.json"].sha256 or "") == 64


def _count(data: Path) -> int:
    return len(json.loads((data / "annotations/ScanRefer_filtered_val.json").read_text()))


def test_a_damaged_annotation_file_is_wrong_and_the_others_are_still_told(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/ScanQA_v1.0_val.json").write_text('[{"scene_id": ')
    states = {state.path: state for state in check_files(tmp_path)}
    assert states["annotations/ScanQA_v1.0_val.json"].state == "wrong"
    assert "line 1" in states["annotations/ScanQA_v1.0_val.json"].note
    assert states["annotations/ScanQA_v1.0_train.json"].state == "missing"


def test_the_verb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waiting = GridState("table9", ("models/vit-mae-large",), ("mae",))
    monkeypatch.setattr("threedrs_workflows.sources.check.check_grids", lambda _: [waiting])
    assert main(["data", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sources"]["vggt"]["licence"] == "CC BY-NC 4.0"
    assert main(["data", "scannet"]) == 0
    assert "workflows prepare scannet" in capsys.readouterr().out
    assert main(["data", "scanet"]) == 2
    assert "did you mean 'scannet'" in capsys.readouterr().err
    assert main(["data", "chek", str(tmp_path)]) == 2
    assert "did you mean 'check'" in capsys.readouterr().err
    assert main(["data", "check", str(tmp_path / "nowhere")]) == 2
    assert main(["data", "check", str(tmp_path), "--json"]) == MISSING
    told = json.loads(capsys.readouterr().out)
    assert {file["state"] for file in told["files"]} == {"missing"}
    (tmp_path / "models/vit-mae-large").mkdir(parents=True)
    assert main(["data", "check", str(tmp_path), "--quiet"]) == WRONG
    told = capsys.readouterr().out
    assert "the folder is empty" in told and "table9  lacks mae" in told


def test_fetching(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Any] = []

    def snapshot_download(repository: str, **how: Any) -> None:
        asked.append((repository, how["repo_type"], how["local_dir"]))
        if len(asked) > 1:
            raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert main(["data", "fetch", "vsibench", str(tmp_path)]) == 0
    assert asked == [("nyu-visionx/VSI-Bench", "dataset", tmp_path / "vsibench")]
    assert "unzip" in capsys.readouterr().out
    with pytest.raises(StorageError, match="no network"):
        fetch.fetch("mae", tmp_path)
    assert main(["data", "fetch", "scannet", str(tmp_path)]) == 2
    assert "ScanNet Terms of Use" in capsys.readouterr().err
