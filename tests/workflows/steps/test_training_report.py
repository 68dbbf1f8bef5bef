"""What a training says of itself while it runs: where it began, and what is kept of it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from threedrs_components.training.config import TrainingConfig
from threedrs_platform.steps import StepTask
from threedrs_workflows.steps.training_report import TrainingReports


class Notes:
    """A recorder that keeps what is said of progress."""

    def __init__(self) -> None:
        self.told: list[tuple[int, int, str]] = []

    def progress(self, done: int, total: int, note: str) -> None:
        self.told.append((done, total, note))

    def curve(self, step: int, values: object) -> None:
        pass


def reports(folder: Path, attempt: int) -> tuple[TrainingReports, Notes]:
    notes, log = Notes(), folder / "logs" / f"{attempt}.log"
    log.parent.mkdir(exist_ok=True)
    log.touch()
    task = StepTask({}, {}, folder / "out", folder / "work", notes, {}, log)  # type: ignore[arg-type]
    return TrainingReports(task, TrainingConfig(steps=600), folder / "checkpoints"), notes


def checkpoint(folder: Path, step: int) -> Path:
    path = folder / "checkpoints" / f"step-{step:07d}"
    path.mkdir(parents=True)
    return path


def test_a_training_that_goes_on_says_from_where_and_what_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told, notes = reports(tmp_path, 2)
    newest, at = checkpoint(tmp_path, 300), time.mktime((2026, 12, 1, 0, 41, 0, 0, 0, -1))
    os.utime(newest, (at, at))
    told.begins(newest)
    told.report(290, {"loss": 9.0})
    told.report(340, {"loss": 1.5})
    resumed = "resumed from step 300 (checkpoint of 00:41)"
    assert capsys.readouterr().out == f"{resumed}\n"
    assert notes.told == [
        (300, 600, resumed),
        (340, 600, f"loss 1.500; kept to step 300; {resumed}"),
    ]


def test_a_first_attempt_says_nothing_and_a_later_one_that_nothing_was_kept(tmp_path: Path) -> None:
    first, notes = reports(tmp_path, 1)
    first.begins(None)
    first.report(10, {"loss": 1.5})
    assert notes.told == [(10, 600, "loss 1.500; nothing kept yet")]
    later, notes = reports(tmp_path, 2)
    later.begins(None)
    assert notes.told == [(0, 600, "begun anew: no checkpoint before step 100 or 60 seconds")]
