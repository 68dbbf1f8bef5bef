"""`workflows score` as people call it."""

import json
from pathlib import Path

import pytest

from threedrs_components.benchmarks.registry import BENCHMARKS
from threedrs_workflows.cli import main


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    annotations, predictions = tmp_path / "questions.json", tmp_path / "mine.jsonl"
    questions = [
        {"question_id": n, "scene_id": "s0", "question": text, "situation": "I sit."}
        for n, text in enumerate(("What is it?", "What is that?", "Is it?"))
    ]
    answers = [
        {"question_id": n, "scene_id": "s0", "answers": [{"answer": text}]}
        for n, text in enumerate(("chair", "bed", "yes"))
    ]
    annotations.write_text(json.dumps({"questions": questions, "annotations": answers}))
    predictions.write_text('{"id": "0", "text": "The chair."}\n{"id": "1", "text": "sofa"}')
    return str(annotations), str(predictions)


def score(files: tuple[str, str], *more: str) -> int:
    annotations, predictions = files
    arguments = ["--annotations", annotations, "--predictions", predictions]
    return main(["score", "sqa3d", *arguments, *more])


def test_the_table_says_how_many_are_missing(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(files) == 0
    captured = capsys.readouterr()
    assert "protocol 3drs: 3 samples, 1 without prediction (counted as wrong)" in captured.out
    assert "33.33" in captured.out and "what" in captured.out
    assert "warning: 1 of 3 samples have no prediction" in captured.err


def test_json_has_the_documented_keys(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert score(files, "--json", "--protocol", "leo") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["schema"] == "workflows.score/1"
    assert (content["benchmark"], content["protocol"]) == ("sqa3d", "leo")
    assert content["metrics"]["em"]["value"] == pytest.approx(100 / 3)
    assert content["metrics"]["em"]["n"] == 3 and len(content["metrics"]["em"]["ci95"]) == 2
    assert content["per_type"]["what"]["em"]["value"] == 50.0
    assert content["missing"] == 1 and len(content["warnings"]) == 1


def test_answers_that_cannot_be_read_are_said(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(files[1]).write_text('{"id": "0", "text": "chair<|im_end|>"}\n{"id": "1", "text": "bed"}')
    assert score(files) == 0
    assert "not read: 1 of 2 texts begin or end with a line break" in capsys.readouterr().err
    assert score(files, "--json") == 0
    [unread] = json.loads(capsys.readouterr().out)["unread"]
    assert (unread["count"], unread["examples"]) == (1, ["'chair<|im_end|>'"])


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--protocol", "nope"], 2, "sqa3d has no protocol 'nope'"),
        (["--format", "nope"], 2, "unknown format 'nope'"),
        (["--format", "scanqa"], 2, "not sqa3d"),
    ],
)
def test_mistakes_are_messages(
    files: tuple[str, str],
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    code: int,
    message: str,
) -> None:
    assert score(files, *more) == code
    assert message in capsys.readouterr().err


def test_broken_predictions_name_their_line(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(files[1]).write_text('{"id": "0", "text": "x"}\n{"id": "1", "text": }\n')
    assert score(files) == 2
    assert "mine.jsonl: record line 2: JSON: Expecting value" in capsys.readouterr().err


@pytest.mark.parametrize("file", [0, 1], ids=["annotations", "predictions"])
@pytest.mark.parametrize(
    "content",
    [None, b"", b"\xff\xfe\x00junk", b"[[", b"3", b'{"a": 1}', b'[{"id": "0", "text": 5}]'],
    ids=["missing", "empty", "binary", "cut off", "number", "other keys", "wrong type"],
)
def test_a_file_that_cannot_be_scored_is_the_users_to_mend(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str], file: int, content: bytes | None
) -> None:
    path = Path(files[file])
    path.unlink() if content is None else path.write_bytes(content)
    assert score(files) == 2
    said = capsys.readouterr().err
    assert path.name in said and "internal error" not in said


def test_help_names_every_protocol_and_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["score", "--help"])
    text = capsys.readouterr().out
    assert "the first of each is the default" in text
    for kind, benchmark in BENCHMARKS.items():
        assert kind in text and all(name in text for name in benchmark.protocols)
