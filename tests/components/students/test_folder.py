"""A folder that stands for weights elsewhere knows what they are, and not where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from threedrs_components.students.build import build_student
from threedrs_components.students.checkpoints import save_student
from threedrs_components.students.folder import resolve_student, weights_digest, write_pointer
from threedrs_components.students.llava_video import LlavaVideoConfig
from threedrs_components.testing.synthetic import random_student
from threedrs_platform.errors import CheckpointError


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    save_student(random_student(), tmp_path / "weights")
    return tmp_path / "weights"


@pytest.fixture
def start(tmp_path: Path) -> Path:
    (tmp_path / "start").mkdir()
    return tmp_path / "start"


def test_renamed_weights_are_found_by_whoever_says_where_they_are(
    weights: Path, start: Path
) -> None:
    write_pointer(weights, "digest", start)
    renamed = weights.rename(weights.with_name("renamed"))
    config = LlavaVideoConfig(checkpoint=str(renamed))
    assert resolve_student(start, config) == renamed
    assert weights_digest(start) == "digest"
    found = config.model_copy(update={"checkpoint": str(resolve_student(start, config))})
    assert build_student(found).width == 48


def test_no_file_of_a_pointer_says_where_the_weights_are(weights: Path, start: Path) -> None:
    write_pointer(weights, "digest", start)
    assert [path.read_text() for path in start.iterdir()] == ['"digest"']


def test_a_relative_checkpoint_is_resolved_where_it_is_read(
    weights: Path, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(weights.parent)
    write_pointer("weights", "digest", start)
    found = resolve_student(start, LlavaVideoConfig(checkpoint="weights"))
    assert found == weights and os.path.isabs(found)


def test_a_student_that_was_trained_is_read_where_it_lies(weights: Path, start: Path) -> None:
    config = LlavaVideoConfig(checkpoint=str(start))
    assert resolve_student(weights, config) == weights
    assert weights_digest(weights) == ""


def test_a_pointer_needs_weights_and_a_checkpoint(tmp_path: Path, start: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere: no config\.json here"):
        write_pointer(tmp_path / "nowhere", "digest", start)
    with pytest.raises(CheckpointError, match="no student, and no checkpoint is configured"):
        resolve_student(start, LlavaVideoConfig())
