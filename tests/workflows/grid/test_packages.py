"""What training needs beside the project is missed before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.errors import ConfigError, DataError
from threedrs_workflows.grid import packages
from threedrs_workflows.grid.cells import expand
from threedrs_workflows.grid.packages import refuse_missing_packages, refuse_missing_readers

GRID = """
version: 1
name: x
base: {preset: micro, teacher: none, training.optimizer: adamw_8bit, students.llava.lora: {rank: 4}}
"""


def test_every_missing_package_is_named_with_its_setting_and_its_cure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    experiment = expand(load_document(GRID)).base
    refuse_missing_packages([experiment])
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as refused:
        refuse_missing_packages([experiment, experiment])
    text = str(refused.value)
    assert "students.llava.lora: needs the package peft: pip install -e '.[one-gpu]'" in text
    assert "training.optimizer: needs the package bitsandbytes" in text and text.count("\n") == 1


def test_a_cell_that_trains_nothing_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    untrained = ("training.steps=0",)
    refuse_missing_packages([expand(load_document(GRID), sets=untrained).base])


def test_scenes_that_an_optional_package_reads_name_it(monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = "{kind: scenezoo, dataset: arkitscenes, root: R, split_files: {train: T, val: V}}"
    changes = [f"scenes={scenes}", "benchmarks.annotations=A", "benchmarks.candidates=ground_truth"]
    changes.append("students.llava.checkpoint=W")
    experiment = expand(load_document(GRID), sets=changes).base
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as refused:
        refuse_missing_readers([experiment, experiment])
    cure = "pip install -e '.[scenes]'"
    assert str(refused.value) == f"scenes.kind: needs the package scenezoo: {cure}"
    refuse_missing_readers([expand(load_document(GRID)).base])


def test_clips_that_are_video_files_need_pyav_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    grid = f"version: 1\nname: x\nenv: {{DATA: {tmp_path}}}\nbase: {{preset: vsi}}\n"
    experiment = expand(load_document(grid)).base
    monkeypatch.setattr(packages, "find_spec", lambda name: None)
    (tmp_path / "vsibench/scannet/scene0011_00").mkdir(parents=True)
    refuse_missing_readers([experiment])
    (tmp_path / "vsibench/scannet/scene0011_01.mp4").touch()
    with pytest.raises(ConfigError, match=r"needs the package av: pip install -e '.\[video\]'"):
        refuse_missing_readers([experiment])


def test_meteor_is_missed_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = expand(load_document(GRID), sets=("benchmarks.text_metrics=[bleu4, meteor]",)).base
    refuse_missing_readers([wanted])

    def absent() -> None:
        raise DataError("pycocoevalcap is not installed; METEOR needs it")

    monkeypatch.setattr(packages, "installed_data", absent)
    refuse_missing_readers([expand(load_document(GRID)).base])
    with pytest.raises(ConfigError, match=r"benchmarks.text_metrics: pycocoevalcap is not"):
        refuse_missing_readers([wanted])
