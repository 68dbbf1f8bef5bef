"""A trained student asked, evaluated and exported by cell and by folder, as its run did it."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import threedrs
from threedrs_components.benchmarks.prediction_files import read_predictions
from threedrs_components.benchmarks.sample_files import read_samples
from threedrs_components.scenes.videos.reader import holds_videos
from threedrs_components.testing.scannet_download import write_scannet_download
from threedrs_components.testing.vsi_files import CLIPS, write_vsi
from threedrs_platform.records import Prediction, Sample
from threedrs_workflows.cli import main
from threedrs_workflows.cli.model_arguments import Named, find_cell
from threedrs_workflows.models.of_cell import CellSteps
from threedrs_workflows.testing.tiny_cell import CELL, SCENE

Printed = pytest.CaptureFixture[str]
OF_FOLDER = ("--set", "prepare.num_frames=3")


@pytest.fixture
def steps(trained: Path) -> Iterator[CellSteps]:
    with ExitStack() as opened:
        yield find_cell(Named(CELL, workspace=str(trained)), opened)


def said(capsys: Printed, *words: str) -> dict[str, Any]:
    assert main([*words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refusal(capsys: Printed, *words: str) -> str:
    assert main([*words]) == 2
    printed = capsys.readouterr()
    assert not printed.out
    return printed.err


def first(steps: CellSteps, kind: str) -> tuple[Sample, Prediction]:
    """A question about the scene, and what the run answered."""
    samples = read_samples(steps.folder("samples") / "evaluation.jsonl")
    sample = next(each for each in samples if (each.scene_id, each.kind) == (SCENE, kind))
    answers = read_predictions(steps.folder("predict") / "predictions.jsonl")
    return sample, next(each for each in answers if each.sample_id == sample.sample_id)


def test_a_cell_answers_as_it_did_in_its_run(
    steps: CellSteps, trained: Path, tmp_path: Path, capsys: Printed
) -> None:
    (pointed, where), (asked, what) = first(steps, "ground"), first(steps, "text")
    content = said(
        capsys, "ask", CELL, f"find {pointed.prompt}", asked.prompt,
        "--scene", SCENE, "--workspace", str(trained), "--out", str(tmp_path / "out"),
    )  # fmt: skip
    box, words = content["answers"]
    assert words["text"] == (what.text or "").strip() and words["box"] is None
    assert box["prompt"] == pointed.prompt and content["candidates"]["from"] == "proposals"
    best = max(where.scores)
    assert box["choices"][0]["score"] == pytest.approx(best, abs=1e-5)
    row = where.scores.index(best)
    assert box["choices"][0]["candidate"] == (row if row < len(where.boxes) else None)
    kept = json.loads((tmp_path / "out" / "answers.json").read_text())
    assert kept["answers"] == content["answers"]


def test_chosen_boxes_are_drawn_into_frames_that_show_them(
    steps: CellSteps, trained: Path, tmp_path: Path, capsys: Printed
) -> None:
    samples = read_samples(steps.folder("samples") / "evaluation.jsonl")
    asked = [each.prompt for each in samples if (each.scene_id, each.kind) == (SCENE, "ground")]
    words = ("ask", CELL, *asked, "--boxes", "--scene", SCENE, "--out", str(tmp_path))
    answers = said(capsys, *words, "--workspace", str(trained))["answers"]
    drawn = {Path(each["picture"]) for each in answers if each["picture"]}
    assert drawn and drawn == set(tmp_path.glob("*.png"))
    for path in drawn:
        with Image.open(path) as picture:
            assert picture.width > picture.height // 2 and picture.getbbox() is not None


def test_a_folder_of_weights_and_one_of_frames_give_the_same_answers(
    steps: CellSteps, trained: Path, capsys: Printed
) -> None:
    pointed, _ = first(steps, "ground")
    world = steps.folder("scenes")
    asked = (pointed.prompt, "--boxes", "--min-frames", "1")
    by_id = said(
        capsys, "ask", CELL, *asked, "--scene", SCENE, "--workspace", str(trained)
    )  # fmt: skip
    by_folder = said(
        capsys, "ask", str(steps.folder("finetune")), *asked, *OF_FOLDER,
        "--scene", str(world / "scenes" / SCENE),
        "--proposals", str(world / "proposals" / "val.json"),
    )  # fmt: skip
    pairs = zip(by_id["answers"][0]["choices"], by_folder["answers"][0]["choices"], strict=True)
    for one, other in pairs:
        assert one["score"] == pytest.approx(other["score"], abs=1e-5)
        assert one["box"] == pytest.approx(other["box"])


def test_the_boxes_of_a_scene_folder_are_candidates_with_names(
    steps: CellSteps, capsys: Printed
) -> None:
    content = said(
        capsys, "ask", str(steps.folder("finetune")), "locate the bed", *OF_FOLDER,
        "--scene", str(steps.folder("scenes") / "scenes" / SCENE), "--min-frames", "1",
    )  # fmt: skip
    boxes = json.loads((steps.folder("scenes") / "scenes" / SCENE / "boxes.json").read_text())
    assert content["candidates"] == {"from": "ground_truth", "count": len(boxes["labels"])}
    named = [each["label"] for each in content["answers"][0]["choices"]]
    assert set(named) <= {*boxes["labels"], "no object"}


def test_without_candidates_only_words_can_be_asked(
    steps: CellSteps, tmp_path: Path, capsys: Printed
) -> None:
    bare = tmp_path / "attic"
    shutil.copytree(steps.folder("scenes") / "scenes" / SCENE, bare)
    (bare / "boxes.json").unlink()
    model = (str(steps.folder("finetune")), *OF_FOLDER, "--scene", str(bare), "--min-frames", "1")
    told = refusal(capsys, "ask", *model, "find the bed")
    assert "scene attic: no boxes to choose among" in told and "--proposals" in told
    assert said(capsys, "ask", *model, "what color is the bed")["answers"][0]["kind"] == "text"


def test_several_questions_share_a_prefix_and_are_answered_as_alone(
    trained: Path, tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = ("--scene", SCENE, "--workspace", str(trained))
    asked = ["what color is the bed", "where is the lamp"]
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join([*asked, "", ""])))
    together = said(capsys, "ask", CELL, "-", *where)["answers"]
    assert [each["question"] for each in together] == asked
    file = tmp_path / "asked.txt"
    file.write_text(f"{asked[1]}\n\n")
    mixed = said(capsys, "ask", CELL, *where, asked[0], "--questions", str(file))["answers"]
    assert mixed == together
    alone = [said(capsys, "ask", CELL, each, *where)["answers"][0] for each in asked]
    assert [each["text"] for each in together] == [each["text"] for each in alone]


@pytest.mark.parametrize(
    ("words", "flags"),
    [
        ([" "], ["QUESTION"]),
        (["what", ""], ["QUESTION"]),
        ([], ["QUESTION"]),
        (["-"], ["QUESTION"]),
    ],
)
def test_empty_questions_are_refused_before_anything_is_loaded(
    words: list[str], flags: list[str], capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n \n"))
    told = refusal(capsys, "ask", "no-such-cell", *words, "--scene", SCENE)
    assert all(f"{flag}: " in told for flag in flags) and "empty" in told


def test_a_file_of_questions_that_is_not_there_is_named(tmp_path: Path, capsys: Printed) -> None:
    told = refusal(capsys, "ask", "x", "--scene", SCENE, "--questions", str(tmp_path / "none.txt"))
    assert f"--questions: {tmp_path / 'none.txt'}: No such file" in told


def test_the_time_that_one_waited_for_is_told_part_by_part(trained: Path, capsys: Printed) -> None:
    where = ("--scene", SCENE, "--workspace", str(trained))
    parts = said(capsys, "ask", CELL, "what color is the bed", *where)["seconds"]
    assert [*parts] == ["start", "read the scene", "load the student", "answer"]


def test_words_that_a_student_never_read_are_told(trained: Path, capsys: Printed) -> None:
    where = ("--scene", SCENE, "--workspace", str(trained))
    assert said(capsys, "ask", CELL, "what color is the bed", *where)["notes"] == []
    (note,) = said(capsys, "ask", CELL, "what color is the zebra", *where)["notes"]
    assert note.endswith(": zebra")


def test_devices_and_folders_that_are_none_are_told(trained: Path, capsys: Printed) -> None:
    where = ("--scene", SCENE, "--workspace", str(trained))
    assert "no device here" in refusal(capsys, "ask", CELL, "what", *where, "--device", "abacus")
    assert "is no folder" in refusal(capsys, "ask", CELL, "what", *where, "--out", __file__)


def test_an_evaluation_that_chooses_boxes_needs_some(
    steps: CellSteps, trained: Path, tmp_path: Path, capsys: Printed
) -> None:
    world = steps.folder("scenes")
    for name in ("scenes", "annotations"):
        shutil.copytree(world / name, tmp_path / name)
    shutil.copy(world / "splits.json", tmp_path)
    words = ("evaluate", CELL, "--workspace", str(trained), "--benchmark", "scanrefer",
             "--annotations", str(tmp_path), "--scenes", str(tmp_path),
             "--min-frames", "1")  # fmt: skip
    assert "--proposals FILE, or" in refusal(capsys, *words)
    among_true = said(capsys, *words, "--oracle")["evaluations"][0]
    given = said(capsys, *words, "--proposals", str(world / "proposals" / "val.json"))
    assert flat(given["evaluations"])["scanrefer/acc@0.25"] == measured(steps)["scanrefer/acc@0.25"]
    assert among_true["samples"] == given["evaluations"][0]["samples"]


def test_what_cannot_be_asked_is_told(trained: Path, steps: CellSteps, capsys: Printed) -> None:
    where = ("--scene", "val0000", "--workspace", str(trained))
    assert "did you mean 'val0000" in refusal(capsys, "ask", CELL, "what", *where)
    assert "settings of a cell" in refusal(capsys, "ask", CELL, "what", *where, "--preset", "micro")
    assert "no cell 'bose'" in refusal(capsys, "ask", "bose", "what", *where)
    student = str(steps.folder("finetune"))
    assert "goes by an id" in refusal(capsys, "ask", student, "what", *where).replace(
        "go ", "goes "
    )


def test_weights_that_cannot_be_asked_are_told(
    steps: CellSteps, tmp_path: Path, capsys: Printed
) -> None:
    published, fused = tmp_path / "published", tmp_path / "fused"
    published.mkdir()
    (published / "config.json").write_text('{"model_type": "llava_qwen"}')
    told = refusal(capsys, "ask", str(published), "what", "--scene", str(tmp_path))
    assert "--preset" in told and "3drs" in told
    shutil.copytree(steps.folder("finetune"), fused)
    config = json.loads((fused / "config.json").read_text())
    (fused / "config.json").write_text(json.dumps({**config, "fusion": {}}))
    scene = str(steps.folder("scenes") / "scenes" / SCENE)
    told = refusal(
        capsys, "ask", str(fused), "what", "--scene", scene, "--min-frames", "1", *OF_FOLDER
    )
    assert "teacher's features" in told and "step extract" in told


@pytest.mark.parametrize("by", ["cell", "folder"])
def test_an_evaluation_without_a_grid_has_the_numbers_of_the_run(
    by: str, steps: CellSteps, trained: Path, tmp_path: Path, capsys: Printed
) -> None:
    world = str(steps.folder("scenes"))
    of_folder = (str(steps.folder("finetune")), *OF_FOLDER)
    model = (CELL, "--workspace", str(trained)) if by == "cell" else of_folder
    words = ("evaluate", *model, "--benchmark", "scanrefer", "--benchmark", "scanqa",
             "--annotations", world, "--scenes", world, "--min-frames", "1",
             "--out", str(tmp_path / "out"))  # fmt: skip
    content = said(capsys, *words)
    assert content["evaluations"] and flat(content["evaluations"]) == measured(steps)
    assert said(capsys, *words)["evaluations"] == content["evaluations"]
    assert main([*words]) == 0
    assert "2 of 2 scenes were answered before" in capsys.readouterr().err
    (tmp_path / "out" / "answers" / f"{SCENE}.jsonl").write_text("")
    assert said(capsys, *words)["evaluations"] == content["evaluations"]
    if by == "folder":
        told = refusal(capsys, *words, "--set", "prepare.grid=4", "--oracle")
        assert "holds another evaluation" in told


@pytest.mark.parametrize("scenes", ["of the run", "in a grid's words"])
def test_scenes_are_named_in_a_grids_words_or_those_of_the_run(
    scenes: str, steps: CellSteps, trained: Path, capsys: Printed
) -> None:
    world = str(steps.folder("scenes"))
    given = f"{{kind: rgbd_folder, root: {world}, min_frames: 1}}"
    named = () if scenes == "of the run" else ("--scenes", given)
    words = ("evaluate", CELL, "--workspace", str(trained), "--benchmark", "scanrefer",
             "--benchmark", "scanqa", "--annotations", world)  # fmt: skip
    assert flat(said(capsys, *words, *named)["evaluations"]) == measured(steps)
    limited = refusal(capsys, *words, *named, "--depth-scale", "4000")
    assert "--depth-scale: is of folders of posed RGB-D frames" in limited


def test_an_evaluation_is_gone_on_with_by_where_its_scenes_lie(
    steps: CellSteps, trained: Path, tmp_path: Path, capsys: Printed,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    world = steps.folder("scenes")
    words = ("evaluate", CELL, "--workspace", str(trained.resolve()), "--benchmark", "scanrefer",
             "--annotations", str(world), "--scenes", "rooms", "--min-frames", "1",
             "--out", str(tmp_path / "out"))  # fmt: skip
    for name in ("one", "other"):
        shutil.copytree(world, tmp_path / name / "rooms")
    monkeypatch.chdir(tmp_path / "one")
    content = said(capsys, *words)
    assert said(capsys, *words)["evaluations"] == content["evaluations"]
    monkeypatch.chdir(tmp_path / "other")
    assert "holds another evaluation" in refusal(capsys, *words)


def test_a_scannet_download_is_unpacked_and_evaluated(
    steps: CellSteps, tmp_path: Path, capsys: Printed
) -> None:
    root, out = tmp_path / "download", tmp_path / "out"
    write_scannet_download(root)
    student = (str(steps.folder("finetune")), *OF_FOLDER)
    words = ("evaluate", *student, "--benchmark", "scanqa", "--benchmark", "scanrefer",
             "--annotations", str(root / "annotations"))  # fmt: skip
    limited = refusal(capsys, *words, "--min-frames", "1", "--scenes", str(root))
    assert "--min-frames: is of folders of posed RGB-D frames" in limited
    assert "say where to" in refusal(capsys, *words, "--scenes", str(root))
    content = said(capsys, *words, "--scenes", str(root), "--out", str(out))
    by_name = {each["benchmark"]: each for each in content["evaluations"]}
    assert by_name["scanqa"]["samples"] > 0 and by_name["scanrefer"]["samples"] > 0
    again = said(capsys, *words, "--scenes", str(out / "scannet"))
    assert again["evaluations"] == content["evaluations"] and not content["left_out"]


def test_clips_are_evaluated_as_they_were_downloaded(
    steps: CellSteps, tmp_path: Path, capsys: Printed
) -> None:
    write_vsi(tmp_path)
    clips = str(tmp_path / "vsibench")
    student = (str(steps.folder("finetune")), *OF_FOLDER)
    words = ("evaluate", *student, "--benchmark", "vsibench", "--annotations", clips,
             "--split", "test")  # fmt: skip
    named = (
        clips if holds_videos(tmp_path / "vsibench", None) else f"{{kind: videos, root: {clips}}}"
    )
    [found] = said(capsys, *words, "--scenes", named)["evaluations"]
    assert found["samples"] == 10 * len(CLIPS)
    given = f"{{kind: videos, root: {clips}, datasets: [scannet], num_frames: 3}}"
    assert "does not hold" in refusal(capsys, *words, "--scenes", given)
    assert "no scenes 'video'" in refusal(capsys, *words, "--scenes", "{kind: video}")


def flat(evaluations: list[dict[str, Any]]) -> dict[str, float]:
    """All values by their full names; METEOR, which the tiny grid does not measure, is left out."""
    found = {}
    for each in evaluations:
        groups = {"": each["metrics"]} | {f"/{kind}": of for kind, of in each["per_type"].items()}
        for kind, metrics in groups.items():
            for name, metric in metrics.items():
                found[f"{each['benchmark']}/{name}{kind}"] = metric["value"]
    return found


def measured(steps: CellSteps) -> dict[str, float]:
    """The run's own numbers of answers."""
    table = json.loads((steps.folder("score") / "metrics.json").read_text())
    return {each["name"]: each["value"] for each in table if not each["name"].endswith("/missing")}


def test_questions_on_absent_scenes_are_refused_or_left_out(
    steps: CellSteps, trained: Path, tmp_path: Path, capsys: Printed
) -> None:
    world = steps.folder("scenes")
    shutil.copytree(world / "scenes" / SCENE, tmp_path / "rooms" / SCENE)
    words = ("evaluate", CELL, "--workspace", str(trained), "--benchmark", "scanqa",
             "--annotations", str(world), "--scenes", str(tmp_path / "rooms"),
             "--min-frames", "1")  # fmt: skip
    assert "1 scenes" in refusal(capsys, *words)
    content = said(capsys, *words, "--missing-scenes", "leave_out")
    assert content["left_out"] == [{"scene": "val00001", "reason": "not there"}]
    assert content["evaluations"][0]["samples"] > 0


@pytest.mark.parametrize("benchmark", ["scanrefer", "scanqa"])
def test_exported_predictions_score_as_the_run_did(
    benchmark: str, steps: CellSteps, trained: Path, tmp_path: Path, capsys: Printed
) -> None:
    file = tmp_path / "answers" / "mine.jsonl"
    content = said(
        capsys, "predictions", CELL, "--benchmark", benchmark, "--out", str(file),
        "--workspace", str(trained),
    )  # fmt: skip
    assert content["predictions"] == content["samples"] > 0
    scored = flat([said(capsys, *content["score"].split()[1:])])
    own = {name: value for name, value in measured(steps).items() if name.startswith(benchmark)}
    assert own and {name: scored[name] for name in own} == pytest.approx(own, abs=1e-9)


def test_predictions_for_a_benchmark_that_was_not_asked_are_refused(
    trained: Path, tmp_path: Path, capsys: Printed
) -> None:
    words = ("--out", str(tmp_path / "x.jsonl"), "--workspace", str(trained))
    told = refusal(capsys, "predictions", CELL, "--benchmark", "scan2cap", *words)
    assert "was not evaluated on 'scan2cap'" in told and "scanqa" in told


def test_python_has_the_runs_numbers_as_tables(trained: Path, steps: CellSteps) -> None:
    runs = threedrs.runs(str(trained))
    assert list(runs["name"]) == ["tiny"] and runs["created"].notna().all()
    table = threedrs.results(metrics=["scanrefer/*", "scanqa/*"], workspace=str(trained))
    own = dict(zip(table["metric"], table["value"], strict=True))
    assert {name: own[name] for name in measured(steps)} == pytest.approx(measured(steps))
    assert {*table["cell"]} == {CELL} and {*table["seed"]} == {1}
    nothing = threedrs.results(metrics=["sqa3d/*"], workspace=str(trained))
    assert list(nothing["metric"].isna()) == [True] and nothing["value"].isna().all()


def test_python_names_what_it_has() -> None:
    assert dir(threedrs) == sorted(threedrs.__all__)
    assert all(getattr(threedrs, name) is not None for name in threedrs.__all__)


def test_python_loads_and_asks_a_student(trained: Path, steps: CellSteps) -> None:
    student = threedrs.load_student(CELL, workspace=str(trained), device="cpu")
    assert not student.training and student.config.kind == "llava_video"
    pointed, where = first(steps, "ground")
    [answer] = threedrs.ask(
        CELL, SCENE, pointed.prompt, answer_by="boxes", workspace=str(trained), device="cpu"
    )
    assert answer.choices[0].score == pytest.approx(max(where.scores), abs=1e-5)


def test_a_student_in_tiny_sizes_says_that_its_answers_mean_nothing(
    trained: Path, tmp_path: Path, capsys: Printed
) -> None:
    copy = shutil.copytree(trained, tmp_path / "copy")
    with contextlib.closing(sqlite3.connect(copy / "results.db")) as connection, connection:
        connection.execute("""UPDATE runs SET options_json = '{"smoke": true}'""")
    where = ("--scene", SCENE, "--workspace", str(copy))
    (note,) = said(capsys, "ask", CELL, "what color is the bed", *where)["notes"]
    assert re.search("trained for [0-9]+ steps in the tiny sizes of --smoke; its answers", note)
    assert main(["ask", CELL, "what color is the bed", *where, "--quiet"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"note: {note}"
