from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from threedrs_platform.errors import (
    AnnotationError,
    ArtifactMissing,
    CheckpointError,
    ConfigError,
    ConflictError,
    DataError,
    Fault,
    SceneError,
    StepFailed,
    StorageError,
    ThreedrsError,
)
from threedrs_workflows import cli
from threedrs_workflows.cli import main
from threedrs_workflows.cli.verbs import help_text, summaries, verb_names
from threedrs_workflows.grid.cells import load_cells

GRID = "version: 1\nname: test\nbase: {preset: micro}\nmatrix: {teacher: [none, vggt]}\n"
BAD = "version: 1\nname: test\nbase: {preset: micro}\nmatrix: {techer: [none]}\nsteps: {x: {}}\n"


@pytest.fixture
def grid(tmp_path: Path) -> str:
    path = tmp_path / "grid.yaml"
    path.write_text(GRID)
    return str(path)


@pytest.fixture
def bad(tmp_path: Path) -> str:
    path = tmp_path / "bad.yaml"
    path.write_text(BAD)
    return str(path)


def test_help_names_every_verb_and_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    page = capsys.readouterr().out
    for name, summary in summaries().items():
        assert f"  {name}" in page
        assert summary in page
    assert "workflows submit ablations.yaml" in page
    assert max(map(len, page.splitlines())) <= 110


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out.strip() == help_text().strip()


@pytest.mark.parametrize("verb", verb_names())
def test_every_verb_has_help_with_its_arguments(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([verb, "--help"])
    assert caught.value.code == 0
    assert f"workflows {verb}" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("threedrs 0.")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["plna"], "no verb 'plna'; did you mean 'plan'?"),
        (["validate"], "required: FILE"),
        (["validate", "GRID", "--smok"], "unknown argument '--smok'; did you mean '--smoke'?"),
        (["validate", "GRID", "extra"], "unknown argument 'extra'"),
        (["validate", "missing.yaml"], "missing.yaml: no such file"),
        (["validate", "GRID", "--where", "techer == 'x'"], "did you mean 'teacher'?"),
        (["validate", "GRID", "--set", "techer=x"], "did you mean 'teacher'?"),
        (["plan", "GRID", "--diff", "missing.yaml"], "missing.yaml: no such file"),
        (["--workspac", "x", "validate"], "did you mean '--workspace'?"),
    ],
)
def test_wrong_usage_is_exit_2_with_a_cure(
    arguments: list[str], part: str, grid: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([grid if word == "GRID" else word for word in arguments]) == 2
    said = capsys.readouterr()
    assert part in said.err
    assert said.out == ""
    assert "Traceback" not in said.err


def test_validate_lists_the_cells(grid: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", grid]) == 0
    page = capsys.readouterr().out
    assert "2 cells x seeds 0" in page
    assert "teacher=none" in page
    assert "(baseline)" in page


def test_validate_lists_all_faults(bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", bad]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[0].removeprefix(bad) for line in lines] == [":4:10", ":5:9"]


def test_validate_writes_nothing(
    grid: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    main(["validate", grid])
    assert sorted(tmp_path.rglob("*")) == before


def test_settings_are_listed_with_their_values(
    grid: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", grid, "--settings", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["settings"]
    assert listed["training.steps"] == load_cells(Path(grid)).base.training.steps
    assert "seed" not in listed
    assert not [name for name in listed if name.startswith("teacher_pretraining.mae.teacher")]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_json_is_one_object_wherever_the_flag_stands(
    place: int, grid: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["validate", grid]
    arguments.insert(place, "--json")
    assert main(arguments) == 0
    said = capsys.readouterr()
    content = json.loads(said.out)
    assert content["schema"] == "workflows.validate/1"
    assert [cell["is_baseline"] for cell in content["cells"]] == [True, False]
    assert said.err == ""


def test_errors_are_json_under_json(bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", bad, "--json"]) == 2
    said = capsys.readouterr()
    content = json.loads(said.out)
    assert content["schema"] == "workflows.validate/1"
    assert content["error"]["type"] == "ConfigError"
    assert [fault["line"] for fault in content["error"]["faults"]] == [4, 5]
    assert said.err == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError([Fault("x")]), 2),
        (DataError("x"), 2),
        (SceneError("attic", "x"), 2),
        (AnnotationError("x.json", 3, "id", "x"), 2),
        (CheckpointError("x"), 2),
        (ConflictError("x"), 7),
        (StorageError("x"), 75),
        (ArtifactMissing("x"), 1),
        (StepFailed("x"), 1),
        (ThreedrsError("x"), 1),
        (RuntimeError("x"), 1),
    ],
)
def test_exit_codes_tell_errors_apart(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "_dispatch", failing(error))
    assert main([]) == code


def failing(error: BaseException) -> Any:
    def dispatch(_arguments: list[str]) -> int:
        raise error

    return dispatch


def test_a_bug_is_a_message_not_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "_dispatch", failing(ZeroDivisionError("by zero")))
    assert main(["validate"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("internal error: ZeroDivisionError: by zero\n")
    assert "THREEDRS_DEBUG=1" in said
    assert "Traceback" not in said


def test_debug_shows_where_a_bug_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("THREEDRS_DEBUG", "1")
    monkeypatch.setattr(cli, "_dispatch", failing(ZeroDivisionError("by zero")))
    assert main([]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_interruption_is_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "_dispatch", failing(KeyboardInterrupt()))
    assert main([]) == 130


def test_a_closed_pipe_is_no_error(grid: str) -> None:
    program = f"{sys.executable} -c 'from threedrs_workflows.cli import main; exit(main())'"
    command = f"set -o pipefail; {program} validate {grid} --settings | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", [["--help"], ["validate", "GRID"], ["plan", "--help"]])
def test_answers_without_torch_ray_or_mlflow(arguments: list[str], grid: str) -> None:
    words = [grid if word == "GRID" else word for word in arguments]
    code = (
        "import sys\n"
        "from threedrs_workflows.cli import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'ray', 'mlflow', 'transformers', 'scipy', 'sqlalchemy', 'boto3'}\n"
        "assert not heavy & set(sys.modules), sorted(heavy & set(sys.modules))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_terminal_without_unicode_shows_other_characters(tmp_path: Path) -> None:
    code = "import sys; from threedrs_workflows.cli import main; sys.exit(main())"
    file = tmp_path / "größe.yaml"
    ran = subprocess.run(
        [sys.executable, "-c", code, "validate", str(file)],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (2, f"{tmp_path}/gr??e.yaml: no such file\n")


@pytest.mark.parametrize(
    ("verb", "told"),
    [("extract", "frames per scene; default: 32"), ("score", "annotations; default: val")],
)
def test_help_says_what_holds_without_a_flag(
    verb: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    assert told in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("verb", ["results", "status", "logs", "ask a --scene b c", "compare a b"])
def test_who_only_reads_leaves_no_workspace_behind(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "none"
    assert main([*verb.split(), "--workspace", str(place)]) == 2
    assert "there is no run yet" in capsys.readouterr().err and not place.exists()


@pytest.mark.parametrize("verb", ["status", "status --list", "verify", "gc", "accepted", "work"])
def test_a_mistyped_workspace_is_told_with_the_nearest(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right = tmp_path / "project" / ".threedrs"
    right.mkdir(parents=True)
    (right / "results.db").touch()
    for wrong in (tmp_path / "project", tmp_path / "project" / ".threeds"):
        assert main([*verb.split(), "--workspace", str(wrong)]) == 2
        assert f"did you mean {right}?" in capsys.readouterr().err
    assert [each.name for each in (tmp_path / "project").iterdir()] == [".threedrs"]
    assert [each.name for each in right.iterdir()] == ["results.db"]
