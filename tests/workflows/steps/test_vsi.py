"""The preset of table 2, from clips and records to scores, on files of the real formats: all tiny.

With PyAV the clips are videos, without it folders of images: those are read the same way.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from threedrs_components.benchmarks.sample_files import read_samples
from threedrs_components.benchmarks.vsibench.questions import TASKS
from threedrs_components.scenes.prepared import PreparedScenes
from threedrs_components.testing.released_files import write_models
from threedrs_components.testing.vsi_files import (
    CLIPS,
    FRAMES,
    moving_square,
    write_clip,
    write_parquet,
    write_vsi,
)
from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.config.tree import put_in
from threedrs_platform.errors import DataError
from threedrs_platform.identity.file_digests import FileDigests
from threedrs_platform.store.features import FeatureFolder
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.grid.cells import expand
from threedrs_workflows.testing.cell_steps import cell_steps
from threedrs_workflows.testing.one_cell import OneCell

SMALL: dict[str, Any] = {
    "teacher": "vggt",
    "students.llava.gradient_checkpointing": False,
    "teachers.vggt.precision": "float32",
    "training.steps": 3,
    "training.scenes_per_step": 2,
    "training.dtype": "float32",
    "training.workers": 1,
    "training.strategy": "single",
    "benchmarks.max_new_tokens": 3,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DATA folder as the preset wants it."""
    data = tmp_path_factory.mktemp("data")
    write_vsi(data)
    write_models(data)
    return data


def experiment(data: Path, **changes: Any) -> Experiment:
    text = f"version: 1\nname: x\nenv: {{DATA: {data}}}\nbase: {{preset: vsi}}\n"
    tree = expand(load_document(text)).base.model_dump(mode="json")
    named = {name.replace("__", "."): value for name, value in changes.items()}
    return Experiment.model_validate(put_in(tree, (), {**SMALL, **named}))


def test_table_two_runs_on_files_of_the_real_formats(data: Path, tmp_path: Path) -> None:
    cell = OneCell(tmp_path)
    steps = cell_steps(experiment(data), 1, FileDigests())
    assert not {"probe", "probe_teacher"} & steps.keys()
    for step in steps.values():
        cell.run(step)
    tasks = {f"vsibench/average/{task}" for task in TASKS}
    assert {"vsibench/average", "training/loss", *tasks} <= cell.measured
    assert "loss/alignment" in {point.name for point in cell.recorders["finetune"].curves}
    prepared = PreparedScenes(cell.run(steps["prepare"]))
    shapes = {name: len(prepared[name].frame_names) for name in prepared.scenes()}
    clips = ("scene0011_00", "scannetpp.09c1414f1b", "arkitscenes.41069025")
    assert [shapes[clip] for clip in clips] == [FRAMES, FRAMES + 1, FRAMES + 2]
    records = {name: frames for name, frames in shapes.items() if name not in clips}
    assert sum(name.startswith("spar_") for name in records) == 4
    assert sum(name.startswith("llava_hound_") for name in records) == 2
    assert max(records.values()) > 3, "frames of videos"
    features = FeatureFolder(cell.run(steps["extract"]))
    assert {name: len(features[name].frame_names) for name in records} == records
    assert not any(bool(prepared[name].counts.any()) for name in prepared.scenes())
    answers = (cell.run(steps["predict"]) / "predictions.jsonl").read_text().splitlines()
    assert len(answers) == 10 * len(CLIPS)
    samples = read_samples(cell.run(steps["samples"]) / "train.jsonl")
    assert {sample.scene_id for sample in samples} == set(records)
    assert not any("<" in sample.prompt for sample in samples)


@pytest.mark.parametrize("missing", ["refuse", "leave_out"])
def test_questions_on_clips_that_are_not_there_never_count_as_wrong(
    missing: str, data: Path, tmp_path: Path
) -> None:
    cell = OneCell(tmp_path)
    only = {"scenes__datasets": ["scannet", "arkitscenes"]}
    steps = cell_steps(
        experiment(data, training__steps=0, benchmarks__missing_scenes=missing, **only),
        1, FileDigests(),
    )  # fmt: skip
    if missing == "refuse":
        with pytest.raises(DataError, match=r"10 of 10 of vsibench/scannetpp.*leave_out"):
            cell.run(steps["samples"])
        return
    folder = cell.run(steps["samples"])
    assert len(read_samples(folder / "evaluation.jsonl")) == 20
    found = {m.name: (m.value, m.n) for m in cell.recorders["samples"].metrics}
    assert found["samples/vsibench/scannetpp/left_out"] == (10, 10)
    (told,) = cell.recorders["samples"].warnings
    assert "10 of 10 of vsibench/scannetpp" in told


@pytest.mark.parametrize("dataset", ["scannetpp", "arkitscenes"])
def test_scans_of_a_data_set_answer_for_its_clips(dataset: str, data: Path, tmp_path: Path) -> None:
    for name in ("train", "val"):
        (tmp_path / f"{name}.txt").write_text(CLIPS[dataset] if name == "val" else "")
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/metadata.csv").touch()
    (tmp_path / "data").mkdir()
    lists = {name: str(tmp_path / f"{name}.txt") for name in ("train", "val")}
    scans = {"kind": "scenezoo", "dataset": dataset, "root": str(tmp_path), "split_files": lists}
    changes: dict[str, Any] = {
        "scenes": scans, "training__steps": 0, "teacher": "none", "benchmarks__training": [],
        "benchmarks__missing_scenes": "leave_out", "benchmarks__candidates": "ground_truth",
    }  # fmt: skip
    cell = OneCell(tmp_path)
    steps = cell_steps(experiment(data, **changes), 1, FileDigests())
    samples = read_samples(cell.run(steps["samples"]) / "evaluation.jsonl")
    assert {sample.tags["dataset"] for sample in samples} == {dataset} and len(samples) == 10
    assert f"{dataset}.{CLIPS[dataset]}" in steps["prepare"].params["scene_ids"]


@pytest.mark.parametrize("missing", ["refuse", "leave_out"])
def test_questions_on_a_clip_that_cannot_be_read_never_count_as_wrong(
    missing: str, data: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "data"
    shutil.copytree(data, broken)
    clip = next((broken / "vsibench/scannet").iterdir())
    if clip.is_dir():
        pytest.skip("PyAV is not installed, and folders of images have no such fault")
    clip.write_bytes(b"")
    cell = OneCell(tmp_path / "cell")
    changes = {"training__steps": 0, "benchmarks__missing_scenes": missing}
    steps = cell_steps(experiment(broken, **changes), 1, FileDigests())
    if missing == "refuse":
        with pytest.raises(DataError, match="10 questions are about 1 scenes that could not be"):
            cell.run(steps["predict"])
        return
    cell.run(steps["score"])
    measured = {metric.name: metric for metric in cell.recorders["score"].metrics}
    assert measured["vsibench/average"].n == 20 and measured["vsibench/missing"].value == 0
    (told,) = cell.recorders["predict"].warnings
    assert "left out: 10 questions" in told


def test_the_debiased_benchmark_is_a_split(data: Path, tmp_path: Path) -> None:
    cell = OneCell(tmp_path)
    settings = experiment(data, benchmarks__splits={"vsibench": "test_debiased"})
    folder = cell.run(cell_steps(settings, 1, FileDigests())["samples"])
    assert len(read_samples(folder / "evaluation.jsonl")) == 15


def test_positions_are_not_encoded_where_there_are_none(data: Path) -> None:
    with pytest.raises(ValueError, match=r"students.llava.position_encoding: false"):
        experiment(data, students__llava__position_encoding=True)
    with pytest.raises(
        ValueError, match="nothing for correspondence to compare with; set weight: 0"
    ):
        experiment(data, correspondence__weight=1.0)
    with pytest.raises(ValueError, match="gradient_accumulation: null"):
        experiment(data, training__gradient_accumulation=1)


def test_nothing_else_is_learned_where_the_records_are_not(data: Path) -> None:
    with pytest.raises(ValueError, match=r"spar: .*zd11024/VG-LLM-Data: train/spar_7m"):
        experiment(data, scenes__spar=None)
    with pytest.raises(ValueError, match="spar has no evaluation, it is learned"):
        experiment(data, benchmarks__names=["spar"])


def test_a_faulty_record_is_left_out_and_counted(data: Path, tmp_path: Path) -> None:
    records = tmp_path / "spar.jsonl"
    lines = (data / "vg_llm/train/spar_7m.jsonl").read_text().splitlines()[:4]
    climbing = json.loads(lines[0]) | {"images": ["../../secret.jpg"]}
    blank = {key: value for key, value in json.loads(lines[0]).items() if key != "images"}
    lines += [json.dumps(climbing), json.dumps(blank), "{", json.dumps({"id": 1})]
    records.write_text("\n".join(lines))
    given = {"records": str(records), "media": str(data / "vg_llm/media"), "share": 1.0}
    cell = OneCell(tmp_path)
    cell.run(cell_steps(experiment(data, scenes__spar=given), 1, FileDigests())["scenes"])
    found = {m.name: (m.value, m.n) for m in cell.recorders["scenesstudent"].metrics}
    assert found["scenes/spar/drawn"] == found["scenes/spar/skipped"] == (4, 8)
    strict = experiment(data, scenes__spar=given, scenes__on_bad_record="refuse")
    with pytest.raises(DataError, match=r"record 4: '\.\./\.\./secret.jpg' leads out of"):
        OneCell(tmp_path / "strict").run(cell_steps(strict, 1, FileDigests())["scenes"])


def test_revsi_sees_every_frame_of_its_clips(data: Path, tmp_path: Path) -> None:
    root = tmp_path / "revsi"
    (root / "3_frame").mkdir(parents=True)
    for scene in ("s0", "s1"):
        write_clip(root / "3_frame" / f"{scene}.mp4", moving_square(3))
    kinds = {
        "object_counting_single": "3",
        "room_size_estimation_multiple": "20",
        "route_planning": "B",
    }
    rows = [
        {
            "scene_id": scene,
            "num_frames": 3,
            "question": "How about it?",
            "question_type": kind,
            "options": ["A. left", "B. right"] if truth == "B" else None,
            "ground_truth": truth,
        }
        for scene in ("s0", "s1")
        for kind, truth in kinds.items()
    ]
    (root / "16_frame").mkdir()
    write_parquet(root / "16_frame/test-00000-of-00001.parquet", rows)
    changes: dict[str, Any] = {
        "training__steps": 0, "scenes__root": str(root), "scenes__datasets": ["3_frame"],
        "scenes__moments": "all", "scenes__num_frames": 3, "prepare__num_frames": 3,
        "benchmarks__names": ["revsi"], "benchmarks__splits": {"revsi": "16_frame"},
        "benchmarks__annotations": str(root),
    }  # fmt: skip
    cell = OneCell(tmp_path)
    steps = cell_steps(experiment(data, **changes), 1, FileDigests())
    for step in steps.values():
        cell.run(step)
    assert {
        "revsi/average",
        "revsi/average/route_planning",
        "revsi/average/room_size",
    } <= cell.measured
    assert len(PreparedScenes(cell.run(steps["prepare"]))["3_frame.s0"].frame_names) == 3
    with pytest.raises(ValueError, match="set both num_frames alike"):
        experiment(data, **changes | {"prepare__num_frames": 2})
