"""Which process trains where, and what becomes of those that die."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from multiprocessing.context import ForkContext
from pathlib import Path
from typing import Any

import pytest
import torch

from threedrs_components.students.llava_video import LlavaVideoConfig
from threedrs_components.testing.synthetic import TASKS
from threedrs_components.training import launch, ranks
from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.launch import root_cause, train_here
from threedrs_components.training.loop import TrainingInputs, TrainingSummary
from threedrs_components.training.ranks import Place, RankTask, own_device, places
from threedrs_platform.errors import ConfigError, SceneError, StepFailed
from threedrs_platform.memory import MemoryMarks

SUMMARY = TrainingSummary(1, 0, 0.0, 0.0, {})


def inputs(**training: Any) -> TrainingInputs:
    config = TrainingConfig.model_validate(training)
    return TrainingInputs(LlavaVideoConfig(), Path(), {}, config, TASKS)


def start(monkeypatch: pytest.MonkeyPatch, gpus: float, **training: Any) -> list[Any]:
    """Start a training of one process that does nothing; what it was told."""
    told: list[Any] = []

    def train(*_: object, **settings: Any) -> TrainingSummary:
        told.append(settings["device"])
        return SUMMARY

    monkeypatch.setattr(launch, "train", train)
    train_here(
        inputs(**training),
        report=lambda *_: None,
        checkpoint_dir=Path(),
        out=Path(),
        gpus=gpus,
    )
    return told


def test_gpus_that_torch_sees_are_left_alone_by_a_training_that_was_given_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert start(monkeypatch, 0) == [torch.device("cpu")]
    assert start(monkeypatch, 1) == [torch.device("cuda")]


@pytest.mark.parametrize("rank", [0, 1])
def test_each_rank_has_a_gpu_of_its_own_if_as_many_were_given(
    monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    current: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    task = RankTask(inputs(), 2, Path(), Path(), Path(), 2)
    place = places(0, 2)[rank]
    assert own_device(task, place) == torch.device("cuda", rank) and current == [rank]
    assert own_device(replace(task, gpus=0), place) == torch.device("cpu")


def test_ranks_of_a_second_machine_begin_with_its_first_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    current: list[int] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    task = RankTask(inputs(), 4, ("head", 1), Path(), Path(), 4)
    for place in places(2, 2):
        own_device(task, place)
    assert current == [0, 1]
    with pytest.raises(ConfigError, match=r"4 of the 16 workers are on this machine, .* finds 2"):
        own_device(replace(task, size=16), places(4, 4)[3])


def test_fewer_gpus_than_workers_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="4 workers train on 4 GPUs, one for each, or on none"):
        start(monkeypatch, 2, workers=4)


def test_the_first_failure_is_told_with_its_rank() -> None:
    lost = RuntimeError("connection closed by peer")
    scene = SceneError("scene0000_00", "was not prepared")
    assert root_cause({0: lost, 3: scene}) is scene
    assert scene.__notes__ == ["in rank 3 of the training"]
    assert root_cause({1: lost}) is lost
    hungry = MemoryError()
    assert root_cause({0: scene, 1: hungry}) is hungry


def killed(_: RankTask, place: Place, messages: Any) -> None:
    if place.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()


@pytest.mark.parametrize(("kills", "failure"), [((0, 0), "infra"), ((4, 5), "oom")])
def test_a_rank_that_is_killed_ends_the_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kills: tuple[int, int], failure: str
) -> None:
    counted = [MemoryMarks(of_machine=each) for each in kills]
    monkeypatch.setattr(
        ranks, "memory_marks", lambda: counted.pop(0) if counted[1:] else counted[0]
    )
    monkeypatch.setattr(ranks, "run_rank", killed)
    monkeypatch.setattr(launch, "GRACE_S", 0.1)
    monkeypatch.setattr("multiprocessing.get_context", forked)
    with pytest.raises(StepFailed, match=r"rank 1 .* ended by SIGKILL") as told:
        train_here(
            inputs(workers=2, strategy="ddp"),
            report=lambda *_: None,
            checkpoint_dir=tmp_path,
            out=tmp_path,
        )
    assert told.value.failure == failure


def forked(_: str) -> Any:
    """Quicker than to spawn; this test's ranks use nothing of the parent."""
    return ForkContext()
