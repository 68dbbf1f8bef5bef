"""Checkpoints are as large as said before, and never written over the last one that is whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from threedrs_components.testing.synthetic import random_student, task_objectives
from threedrs_components.training.checkpoints import (
    Progress,
    check_room,
    checkpoint_bytes,
    forget_damaged,
    newest_checkpoint,
    weight_bytes,
    write_checkpoint,
)
from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.objective import TrainingModule
from threedrs_components.training.parameter_groups import parameter_groups
from threedrs_components.training.strategies import STATE_FILE, Replicated, World
from threedrs_platform.errors import StorageError

TRAINING = TrainingConfig(steps=10, checkpoint_every=4)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets how many bytes the disk has free."""

    def set_free(size: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=size))

    return set_free


def write(folder: Path, step: int, size: int = 100) -> Path:
    def save(target: Path) -> None:
        (target / "weights").write_bytes(b"w" * size)

    return write_checkpoint(folder, Progress(step, {}, ""), save, True, lambda: None, size)


@pytest.mark.parametrize("factor", [0.0, 0.5], ids=["frozen tower", "all"])
def test_the_size_is_known_beforehand(factor: float, tmp_path: Path) -> None:
    student = random_student()
    module = TrainingModule(student, task_objectives(student))
    training = TRAINING.model_copy(update={"vision_learning_rate_factor": factor})
    strategy = Replicated(module, parameter_groups(module, training), training, World())
    for each in module.parameters():
        each.grad = torch.ones_like(each) if each.requires_grad else None
    strategy.update(1.0)
    strategy.save(tmp_path)
    expected = checkpoint_bytes(module.parameters(), sharded=False)
    assert (tmp_path / STATE_FILE).stat().st_size == pytest.approx(expected, rel=0.15)


def test_sharded_weights_in_half_precision_take_fourteen_bytes_each() -> None:
    learned = torch.nn.Parameter(torch.zeros(10, dtype=torch.bfloat16))
    frozen = torch.nn.Parameter(torch.zeros(10, dtype=torch.bfloat16), requires_grad=False)
    assert checkpoint_bytes([learned, frozen], sharded=True) == 10 * (2 + 4 + 8)
    assert weight_bytes([learned, frozen]) == 40


def test_a_training_without_room_is_refused_before_it_starts(
    tmp_path: Path, free: Callable[[int], None]
) -> None:
    folder = tmp_path / "not" / "yet"
    free(2 * 10**9 + 10**8)
    check_room(folder, TRAINING, checkpoint=10**9, student=10**8)
    free(2 * 10**9)
    with pytest.raises(StorageError) as caught:
        check_room(folder, TRAINING, checkpoint=10**9, student=10**8)
    assert "2 checkpoints of 1 GB and a student of 0.1 GB need 2.1 GB more" in str(caught.value)
    assert "2 GB are free" in str(caught.value)
    check_room(folder, TRAINING.model_copy(update={"checkpoint_every": 10}), 10**9, 10**8)


def test_the_two_newest_are_kept(tmp_path: Path) -> None:
    for step in (2, 4, 6):
        write(tmp_path, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-0000004", "step-0000006"]


def test_a_damaged_checkpoint_is_told_and_the_one_before_taken(tmp_path: Path) -> None:
    first, second = write(tmp_path, 4), write(tmp_path, 8)
    told: list[str] = []
    forget_damaged(tmp_path, told.append)
    assert newest_checkpoint(tmp_path) == second and not told
    content = bytearray((second / "weights").read_bytes())
    content[50] ^= 1
    (second / "weights").write_bytes(content)
    forget_damaged(tmp_path, told.append)
    assert newest_checkpoint(tmp_path) == first
    assert "step-0000008: damaged" in told[0] and len(told) == 1
    (first / "weights").unlink()
    forget_damaged(tmp_path, told.append)
    assert newest_checkpoint(tmp_path) is None and len(told) == 2


def test_a_training_that_goes_on_needs_room_for_one_more(
    tmp_path: Path, free: Callable[[int], None]
) -> None:
    free(10**9)
    write(tmp_path, 4)
    check_room(tmp_path, TRAINING, checkpoint=10**9, student=0)


def test_the_last_whole_checkpoint_outlives_a_full_disk(
    tmp_path: Path, free: Callable[[int], None]
) -> None:
    free(100)
    first = write(tmp_path, 4)
    free(99)
    with pytest.raises(StorageError, match="those of before kept"):
        write(tmp_path, 8)
    assert newest_checkpoint(tmp_path) == first
    assert [path.name for path in tmp_path.iterdir()] == [first.name]


def test_what_a_killed_attempt_left_makes_room(tmp_path: Path) -> None:
    left = tmp_path / "unfinished-step-0000002"
    left.mkdir()
    write(tmp_path, 4)
    assert not left.exists()
