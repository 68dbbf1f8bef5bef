"""Of ScanNet only those scenes are prepared that the annotations of a cell name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from threedrs_platform.config.faults import validate
from threedrs_platform.identity.file_digests import FileDigests
from threedrs_platform.identity.recipes import sha256_file
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.plan.annotation_records import annotated_scenes
from threedrs_workflows.testing.cell_steps import cell_steps

QUESTION = {"question_id": "0", "question": "What is it?", "answers": ["a chair"]}


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "posed_images").mkdir()
    for split in ("train", "val"):
        write(tmp_path / f"{split}.json", {"data_list": []})
    of_split = {"train": ("scene0000_00", "scene0002_00"), "val": ("scene0011_00",)}
    for split, scenes in of_split.items():
        asked = [{**QUESTION, "scene_id": scene} for scene in scenes]
        write(tmp_path / f"annotations/ScanQA_v1.0_{split}.json", asked)
    questions: list[dict[str, Any]] = [{"question_id": 7, "scene_id": "scene0353_00"}]
    name = "annotations/v1_balanced_questions_test_scannetv2.json"
    write(tmp_path / name, {"questions": questions})
    answers = "annotations/v1_balanced_sqa_annotations_test_scannetv2.json"
    write(tmp_path / answers, {"annotations": questions})
    return tmp_path


def experiment(data: Path, **benchmarks: Any) -> Experiment:
    return validate(
        Experiment,
        {
            "scenes": {
                "kind": "scannet",
                "posed_images": str(data / "posed_images"),
                "frame_lists": {split: str(data / f"{split}.json") for split in ("train", "val")},
            },
            "students": {"llava": {"kind": "llava_video"}},
            "student": "llava",
            "benchmarks": {
                "names": ["scanqa"],
                "annotations": str(data),
                **benchmarks,
            },
        },
    )


def test_scenes_of_training_and_of_each_benchmarks_own_split(data: Path) -> None:
    both = {"names": ["scanqa", "sqa3d"], "training": ["scanqa"], "splits": {"sqa3d": "test"}}
    assert annotated_scenes(experiment(data, **both)) == (
        "scene0000_00",
        "scene0002_00",
        "scene0011_00",
        "scene0353_00",
    )
    one = cell_steps(experiment(data), 1, FileDigests())
    named = ["scene0000_00", "scene0002_00", "scene0011_00"]
    assert one["prepare"].params["scene_ids"] == named


def test_processed_conversations_name_theirs_with_the_data_set_before_it(data: Path) -> None:
    record = {"id": 1, "video": "scannet/scene0005_01", "conversations": []}
    write(data / "annotations/ScanQA_v1.0_train.json", [record])
    assert annotated_scenes(experiment(data)) == ("scene0005_01", "scene0011_00")


def test_prompts_leave_prepared_scenes_alone_and_annotations_do_not(data: Path) -> None:
    def prepared(**benchmarks: Any) -> Any:
        return cell_steps(experiment(data, **benchmarks), 1, FileDigests())["prepare"].params

    before = prepared()
    assert prepared(prompts={"scanqa": "Say: {question}"}) == before
    path = data / "annotations/ScanQA_v1.0_val.json"
    write(path, [{**QUESTION, "scene_id": "scene0700_00", "more": "text"}])
    assert "scene0700_00" in prepared()["scene_ids"]


@pytest.mark.parametrize("content", [None, "[]", '[{"scene_id": 5}]'])
def test_where_a_file_is_missing_or_names_no_scene_all_are_prepared(
    data: Path, content: str | None
) -> None:
    path = data / "annotations/ScanQA_v1.0_val.json"
    path.unlink() if content is None else path.write_text(content)
    assert annotated_scenes(experiment(data)) is None


def test_every_annotation_file_enters_by_its_digest(data: Path) -> None:
    content = cell_steps(experiment(data), 1, FileDigests())["samples"].params["content"]
    path = data / "annotations/ScanQA_v1.0_val.json"
    assert content["records.ScanQA_v1.0_val.json"] == sha256_file(path)
    assert "records.ScanQA_v1.0_train.json" in content
