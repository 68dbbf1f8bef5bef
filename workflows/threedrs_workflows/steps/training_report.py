"""What step "finetune" reports of a training: what it cost, and where it ended."""

from __future__ import annotations

import time
from pathlib import Path

from threedrs_components.training.checkpoints import newest_checkpoint, step_of
from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.loop import LOSS, TrainingInputs, TrainingSummary
from threedrs_platform.records import Metric
from threedrs_platform.steps import StepTask


class TrainingReports:
    """What training says, passed on; and that it is waited for, when it says nothing."""

    def __init__(self, task: StepTask, training: TrainingConfig, checkpoints: Path) -> None:
        self._task, self._training, self._checkpoints = task, training, checkpoints
        self._from, self._start = "", 0
        self._last = (0, training.steps, "")

    def begins(self, checkpoint: Path | None) -> None:
        """Say where training goes on, or that an earlier attempt left nothing to go on from."""
        if checkpoint is not None:
            written = time.strftime("%H:%M", time.localtime(checkpoint.stat().st_mtime))
            self._start = step_of(checkpoint)
            self._from = f"resumed from step {self._start} (checkpoint of {written})"
        elif _is_repeated(self._task):
            self._from = f"begun anew: no checkpoint before {_first_due(self._training)}"
        if self._from:
            print(self._from, flush=True)
            self._say(self._start, self._from)

    def report(self, step: int, values: dict[str, float]) -> None:
        """Pass a point of the curves on; those of the past are told again, and are no progress."""
        self._task.log(step, values)
        if step <= self._start:
            return
        newest = newest_checkpoint(self._checkpoints)
        kept = "nothing kept yet" if newest is None else f"kept to step {step_of(newest)}"
        self._say(step, "; ".join(filter(None, (f"loss {values[LOSS]:.3f}", kept, self._from))))

    def pulse(self) -> None:
        """Say the last word again: that ends an attempt which was cancelled."""
        self._task.progress(*self._last)

    def _say(self, step: int, note: str) -> None:
        self._last = (step, self._training.steps, note)
        self._task.progress(*self._last)


def _is_repeated(task: StepTask) -> bool:
    """Whether an earlier attempt has left a log beside this one's."""
    if task.log_file is None:
        return False
    others = {path.name.partition(".")[0] for path in task.log_file.parent.glob("*.log")}
    return bool(others - {task.log_file.stem})


def _first_due(training: TrainingConfig) -> str:
    """When the first checkpoint is written, in words."""
    seconds = training.checkpoint_seconds
    small = f" or {seconds:g} seconds" if seconds and training.workers == 1 else ""
    return f"step {training.checkpoint_every}{small}"


def report_training(task: StepTask, inputs: TrainingInputs, summary: TrainingSummary) -> None:
    """Seconds of what this attempt did, weights that learned by part, and the last values."""
    steps = summary.steps - summary.resumed_from
    if steps > 0:
        scenes = steps * inputs.training.scenes_per_step
        per_scene = summary.seconds / scenes
        task.metric(Metric("training/seconds_per_scene", per_scene, n=scenes, unit="s"))
        per_step = summary.seconds / steps
        task.metric(Metric("training/seconds_per_step", per_step, n=steps, unit="s"))
    for part, count in {"": sum(summary.parameters.values()), **summary.parameters}.items():
        name = f"training/parameters/{part}".removesuffix("/")
        task.metric(Metric(name, count / 1e6, n=1, unit="M"))
    shares = [each.curve(share) for each in inputs.objectives for share in each.shares]
    for name in (LOSS, *shares):
        if name in summary.final:
            unit, scale = ("%", 100) if name in shares else ("nats", 1)
            value = summary.final[name] * scale
            task.metric(Metric(f"training/{name}", value, n=summary.steps, unit=unit))
