"""What step "finetune" reports of a training: what it cost, and where it ended."""

from __future__ import annotations

from threedrs_components.training.loop import LOSS, TrainingInputs, TrainingSummary
from threedrs_platform.records import Metric
from threedrs_platform.steps import StepTask


class TrainingReports:
    """What training says, passed on; and that it is waited for, when it says nothing."""

    def __init__(self, task: StepTask, steps: int) -> None:
        self._task, self._last = task, (0, steps, "")

    def report(self, step: int, values: dict[str, float]) -> None:
        """Pass a point of the curves on."""
        self._task.log(step, values)
        self._last = (step, self._last[1], f"loss {values[LOSS]:.3f}")
        self._task.progress(*self._last)

    def pulse(self) -> None:
        """Say the last word again: that ends an attempt which was cancelled."""
        self._task.progress(*self._last)


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
