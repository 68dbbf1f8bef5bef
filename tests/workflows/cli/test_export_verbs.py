"""`workflows export` of a run: the questions as its cells ask them, on the scenes it prepared."""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from threedrs_components.benchmarks.sample_files import write_samples
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.prepared import prepare_scene, write_prepared
from threedrs_components.scenes.videos.reader import colour_scene
from threedrs_platform.database.measurements import CellResult, StepSummary
from threedrs_platform.errors import ConfigError, DataError
from threedrs_platform.records import Sample
from threedrs_platform.states import StepState
from threedrs_platform.workspace import Workspace, find_workspace
from threedrs_workflows.cli import main
from threedrs_workflows.cli.export_arguments import questions_of
from threedrs_workflows.folders.questions import Questions, of_cell


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with find_workspace(str(tmp_path / "workspace"), environment={}) as made:
        yield made


def asked(name: str, scene: str, benchmark: str = "scanqa") -> Sample:
    return Sample(f"{benchmark}_{name}", benchmark, scene, "text", f"Mine: {name}?", ("x",))


def prepare(name: str, folder: Path) -> None:
    scene = colour_scene(name, ["0"], np.zeros((1, 24, 32, 3), np.uint8))
    write_prepared(prepare_scene(scene, None, PrepareConfig(image_size=28, grid=2)), folder)


@pytest.fixture
def cell(workspace: Workspace, tmp_path: Path) -> CellResult:
    """A cell that has made its samples and prepared one scene."""
    folders = {name: tmp_path / name for name in ("samples", "prepare")}
    for folder in folders.values():
        folder.mkdir()
    write_samples(folders["samples"] / "train.jsonl", [asked("t", "s0")])
    evaluated = [asked("a", "s0"), asked("b", "s1"), asked("c", "s0", "sqa3d")]
    write_samples(folders["samples"] / "evaluation.jsonl", evaluated)
    scene = colour_scene("s0", ["0"], np.zeros((1, 24, 32, 3), np.uint8))
    write_prepared(
        prepare_scene(scene, None, PrepareConfig(image_size=28, grid=2)), folders["prepare"]
    )
    steps = [
        StepSummary(
            name, name * 8, name, StepState.SUCCEEDED, workspace.store.publish(folder).digest
        )
        for name, folder in folders.items()
    ]
    params = {"benchmarks": {"protocols": {"scanqa": "leo"}}}
    return CellResult("id", "base", 1, params=params, steps=tuple(steps))


def names_of(questions: Questions) -> list[str]:
    return [sample.sample_id for sample in questions.samples]


def test_a_cell_gives_its_questions_scenes_and_protocols(
    workspace: Workspace, cell: CellResult
) -> None:
    questions = of_cell(workspace, cell, "evaluation", None)
    assert names_of(questions) == ["scanqa_a", "scanqa_b", "sqa3d_c"]
    assert questions.names == ["scanqa", "sqa3d"] and questions.protocols == {"scanqa": "leo"}
    assert questions.samples[0].prompt == "Mine: a?", "worded as the cell asks"
    assert names_of(of_cell(workspace, cell, "train", ["scanqa"])) == ["scanqa_t"]
    with pytest.raises(ConfigError, match="asks nothing of 'scanrefer'"):
        of_cell(workspace, cell, "evaluation", ["scanrefer"])
    with pytest.raises(DataError, match="step samples has not succeeded; `workflows submit`"):
        of_cell(workspace, CellResult("id", "base", 1), "evaluation", None)


def test_questions_on_scenes_that_are_not_prepared(workspace: Workspace, cell: CellResult) -> None:
    questions = of_cell(workspace, cell, "evaluation", None)
    with pytest.raises(
        DataError, match=r"1 of 3 questions .* e.g. s1; .*--missing-scenes leave_out"
    ):
        questions.with_scenes(leave_out=False)
    kept, left_out = questions.with_scenes(leave_out=True)
    assert names_of(kept) == ["scanqa_a", "sqa3d_c"] and left_out == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "name either a run"),
        (["--run", "last", "--prepared", "p"], "name either a run"),
        (["--prepared", "p", "--benchmarks", "scanqa"], "files are --prepared, --annotations and"),
        (["--run", "last"], "no run"),
    ],
)
def test_flags_that_name_no_questions(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--workspace", str(tmp_path / "w"), "--out", str(tmp_path / "out")]
    assert main(["export", "lmms-eval", *place, *flags]) == ConfigError.exit_code
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_protocol_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fixtures = Path(__file__).parents[2] / "components/benchmarks/fixtures"
    (tmp_path / "prepared").mkdir()
    for name in ("s0", "s1"):
        prepare(name, tmp_path / "prepared")
    command = [
        "export", "lmms-eval", "--prepared", str(tmp_path / "prepared"),
        "--annotations", str(fixtures / "scanqa"), "--benchmarks", "scanqa",
        "--out", str(tmp_path / "out"), "--json",
    ]  # fmt: skip
    assert main([*command, "--protocol", "scanqa=lio"]) == ConfigError.exit_code
    assert "scanqa has no protocol 'lio'" in capsys.readouterr().out
    assert main([*command, "--protocol", "sqa3d=leo"]) == ConfigError.exit_code
    assert "'sqa3d' is not exported; known: scanqa" in capsys.readouterr().out
    assert main([*command, "--protocol", "scanqa=leo"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["tasks"]["scanqa"]["protocol"] == "leo"
    assert "em_refined" in content["tasks"]["scanqa"]["metrics"]


def test_a_split_whose_objects_nobody_points_at_is_refused(tmp_path: Path) -> None:
    fixtures = Path(__file__).parents[2] / "components/benchmarks/fixtures/scan2cap"
    (tmp_path / "annotations").symlink_to(fixtures / "annotations")
    (tmp_path / "scenes").symlink_to(fixtures / "scenes")
    args = argparse.Namespace(
        run=None, cell=None, prepared=tmp_path, annotations=tmp_path,
        benchmarks=["scan2cap"], split="val", missing_scenes="refuse",
    )  # fmt: skip
    with pytest.raises(DataError, match="nothing points at the objects that scan2cap asks about"):
        questions_of(args, "evaluation")
