"""Settings that a grid writes and nothing reads are told, and only those."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from threedrs_platform.config.paths import split_path
from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.config.tree import put_in
from threedrs_platform.identity.file_digests import FileDigests
from threedrs_workflows.cli import main
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.grid.cells import expand, load_cells
from threedrs_workflows.testing.cell_steps import cell_steps
from threedrs_workflows.unread_settings import unread_settings

ROOT = Path(__file__).resolve().parents[3]
GRIDS = [ROOT / "ablations.yaml", *sorted((ROOT / "workflows" / "grids").glob("*.yaml"))]


def notes(base: str = "", more: str = "", sets: tuple[str, ...] = ()) -> list[str]:
    text = f"version: 1\nname: test\nbase:\n  preset: micro\n{base}{more}"
    return [str(note) for note in expand(load_document(text, "g.yaml"), sets=sets).unread()]


@pytest.mark.parametrize(
    ("base", "told"),
    [
        ("  depth.source: teacher\n", "g.yaml:5:3: depth.source is set, but depth.weight is 0"),
        (
            "  depth: {source: teacher, confidence: true}\n",
            "g.yaml:5:11: depth.source, depth.confidence are set, but depth.weight is 0: nothing "
            "reads them",
        ),
        ("  prepare.birds_eye: 64\n", "prepare.birds_eye is set, but no loss tells rooms from"),
        ("  fusion.heads: 2\n", "fusion.heads is set, but fusion.mode is none"),
        ("  alignment.weight: 2.0\n", "alignment.weight is set, but teacher is none"),
        ("  teachers.mae.layer: 1\n", "teachers.mae.layer is set, but teacher is none"),
        ("  teacher: vggt\n  alignment.weight: 0\n", "teacher is set, but no loss that is on"),
        ("  teacher: vggt\n  teachers.mae.layer: 1\n", "teachers.mae.layer is set, but teacher is"),
        ("  reconstruction: {weight: 1, decoder: regression, draws: 2}\n", "reconstruction.draws"),
        (
            "  reconstruction: {weight: 1, every: 999}\n",
            "so that frames are hidden in the first step alone: nothing reads it",
        ),
        ("  training: {steps: 0, clip: 2.0}\n", "training.clip is set, but training.steps is 0"),
        ("  students.blind.frozen: [vision]\n", "students.blind.frozen is set, but student is"),
        ("  probe.cells: 8\n", "probe.cells is set, but probe.reads does not name depth nor"),
        ("  benchmarks.splits: {sqa3d: test}\n", "benchmarks.splits.sqa3d is set, but benchmarks."),
        ("  prepare.checks: {mode: skip, max_gain: 0.2}\n", "prepare.checks.max_gain is set, but"),
    ],
)
def test_what_nothing_reads_is_told_at_its_line(base: str, told: str) -> None:
    (note,) = notes(base)
    assert told in note and note.startswith("g.yaml:")


@pytest.mark.parametrize(
    ("base", "more"),
    [
        ("", ""),
        ("  depth: {weight: 0, control: none}\n", ""),
        ("  prepare.birds_eye: null\n  teacher: none\n", ""),
        ("  depth.slopes: 0.5\n", "include: [{depth.weight: 1}]\n"),
        ("  depth.slopes: 0.5\n", "matrix: {depth.weight: [0, 1]}\n"),
        ("  teachers.mae.layer: 1\n", "ablate: {factors: {teacher: [mae]}}\n"),
        (
            "  depth.slopes: 0.5\n",
            "tune: {space: {depth.weight: {float: [0, 1]}}, metric: scanqa/em@1}\n",
        ),
    ],
)
def test_what_some_cell_reads_or_says_nothing_is_not_told(base: str, more: str) -> None:
    assert notes(base, more) == []


def test_a_setting_is_judged_in_the_cells_that_it_is_written_for() -> None:
    more = "include:\n  - {depth.weight: 1, depth.slopes: 0.5}\n  - {depth.slopes: 2, label: so}\n"
    (note,) = notes("", more)
    assert note.startswith("g.yaml:7:6: depth.slopes is set")


@pytest.mark.parametrize("more", ["matrix: {prepare.birds_eye: [64, 128]}\n", ""])
def test_an_axis_that_nothing_reads_makes_cells_that_differ_in_name(more: str) -> None:
    sets = () if more else ("prepare.birds_eye=64,128",)
    (note,) = notes("", more, sets)
    assert "prepare.birds_eye tells no cells apart but by name" in note


def test_flags_are_judged_as_the_file_is() -> None:
    (note,) = notes(sets=("depth.slopes=2",))
    assert note.startswith("--set depth.slopes=2: depth.slopes is set, but")


def test_verbs_say_it_and_programs_read_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "grid.yaml"
    file.write_text("version: 1\nname: test\nbase: {preset: micro, depth.slopes: 2}\n")
    assert main(["validate", str(file), "--json"]) == 0
    said = capsys.readouterr()
    assert f"note: {file}:3:23: depth.slopes is set" in said.err
    assert [each[-16:] for each in json.loads(said.out)["notes"]] == ["nothing reads it"]


OFFERED = {"arms": ["fusion.heads"]}
"""Settings that fit whoever changes a grid by `--set fusion.mode=cross_attention`."""


@pytest.mark.parametrize("path", GRIDS, ids=lambda path: path.stem)
def test_shipped_grids_set_nothing_in_vain(path: Path) -> None:
    told = [each.message.partition(" is set")[0] for each in load_cells(path).unread()]
    assert told == OFFERED.get(path.stem, [])


TREE: dict[str, Any] = {
    "scenes": {"kind": "micro"},
    "students": {"micro": {"kind": "llava_video"}, "other": {"kind": "qwen2_vl"}},
    "student": "micro",
    "teachers": {"vggt": {"kind": "vggt"}, "mae": {"kind": "mae"}},
    "teacher_pretraining": {"vggt": {}, "mae": {}},
}
DISTILLED = {"teacher": "vggt"}


@pytest.mark.parametrize(
    ("cell", "path", "value"),
    [
        ({}, "depth.source", "teacher"),
        ({}, "alignment.weight", 2.0),
        ({}, "fusion.heads", 2),
        ({}, "teachers.vggt.layer", 1),
        ({}, "teacher_pretraining.mae.steps", 3),
        ({}, "scenes.teacher_scenes", 7),
        ({}, "students.other.blind", True),
        ({}, "benchmarks.prompts.sqa3d", "{situation}! {question}"),
        ({"benchmarks": {"splits": {"sqa3d": "val"}}}, "benchmarks.splits.sqa3d", "test"),
        (DISTILLED, "teachers.mae.layer", 1),
        (DISTILLED, "teacher_pretraining.mae.steps", 3),
        ({"training": {"steps": 0}}, "training.clip", 2.0),
        ({"training": {"steps": 0}}, "text.mask", "released"),
        ({**DISTILLED, "alignment": {"weight": 0.0}}, "teachers.vggt.layer", 1),
    ],
)
def test_of_settings_that_nothing_reads_no_step_is_told(
    cell: dict[str, Any], path: str, value: Any
) -> None:
    tree = TREE | cell
    other = put_in(tree, split_path(path), value)
    one, two = (Experiment.model_validate(each) for each in (tree, other))
    assert one != two
    assert any(each.covers(path) for each in unread_settings(one))
    assert any(each.covers(path) for each in unread_settings(two))
    assert cell_steps(one, 1, FileDigests()) == cell_steps(two, 1, FileDigests())
