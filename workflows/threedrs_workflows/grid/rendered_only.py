"""Models without weights: they are trained on rendered rooms first, and go with no others."""

from __future__ import annotations

from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_platform.errors import Fault
from threedrs_workflows.experiment import Experiment

RENDERED = MicroWorldConfig().kind
"""The kind of scenes that is rendered."""


def lack_of_weights(experiment: Experiment) -> Fault | None:
    """The student or the teacher that would have to learn from scenes that are not rendered."""
    scenes, teacher = experiment.scenes.kind, experiment.teacher_config()
    if scenes == RENDERED:
        return None
    if experiment.student_config().checkpoint is None:
        return Fault(without_weights(scenes, "student", experiment.student), "scenes.kind")
    if teacher is not None and not teacher.is_ready:
        return Fault(without_weights(scenes, "teacher", experiment.teacher), "scenes.kind")
    return None


def without_weights(scenes: str, model: str, name: str) -> str:
    """Why a model without a checkpoint does not go with a kind of scenes, and what does.

    Args:
        scenes: their kind.
        model: "student" or "teacher".
        name: what the grid calls it.
    """
    return (
        f"{model} {name!r} has no weights (checkpoint: null), so it would first be trained on "
        f"rendered rooms, and scenes of kind {scenes} are none; for rooms of your own take `base: "
        "{preset: clean}`, whose models have weights: `workflows init rooms --scenes DIR` writes "
        "such a grid"
    )
