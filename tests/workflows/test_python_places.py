"""Python's own ways to name a file or folder are understood wherever a text is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import threedrs
from threedrs_components.teachers.registry import teacher_config
from threedrs_platform.errors import ThreedrsError

FIXTURES = Path(__file__).parents[1] / "components/benchmarks/fixtures"


@dataclass(frozen=True)
class Place:
    """As `os.DirEntry`: knows its path, and does not look like it in a message."""

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)


@pytest.mark.parametrize("as_place", [str, Path, lambda path: Place(path)])
def test_weights_of_a_teacher(as_place: Callable[[Path], Any], tmp_path: Path) -> None:
    config = teacher_config("da3", checkpoint=as_place(tmp_path / "model.safetensors"))
    assert config.checkpoint == str(tmp_path / "model.safetensors")


def test_files_that_are_scored(tmp_path: Path) -> None:
    given = tmp_path / "p.jsonl"
    questions = FIXTURES / "mindcube/annotations/mindcube_val.jsonl"
    name = json.loads(questions.read_text().splitlines()[0])
    given.write_text(json.dumps({"id": name["id"], "text": name["gt_answer"]}))
    found = threedrs.score(
        "mindcube", predictions=Place(given), annotations=Place(FIXTURES / "mindcube")
    )
    assert found.metrics["accuracy"].n - found.missing == 1
    again = threedrs.score("mindcube", predictions=given, annotations=[Place(questions)])
    assert again.metrics == found.metrics


@pytest.mark.parametrize(
    "call",
    [
        lambda place: threedrs.load_student(place, workspace=place),
        lambda place: threedrs.probe(place),
        lambda place: threedrs.results(workspace=place),
        lambda place: threedrs.load_teacher("vggt", place),
        lambda place: threedrs.score("scanqa", predictions=place),
    ],
    ids=["load_student", "probe", "results", "load_teacher", "score"],
)
def test_what_is_not_there_is_told_by_its_path(
    call: Callable[[Place], object], tmp_path: Path
) -> None:
    with pytest.raises(ThreedrsError) as caught:
        call(Place(tmp_path / "absent"))
    assert str(tmp_path / "absent") in str(caught.value)
    assert "Place(" not in str(caught.value)
