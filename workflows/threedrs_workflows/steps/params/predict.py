"""Parameters of step "predict"."""

from __future__ import annotations

from threedrs_components.benchmarks.asking import Asking, MissingScenes
from threedrs_components.training.evaluation_config import EvaluationConfig
from threedrs_platform.config.kinds import Chosen
from threedrs_workflows.steps.params import StepParams


class PredictParams(StepParams):
    """Who answers, and how each benchmark asks."""

    student: Chosen
    evaluation: EvaluationConfig = EvaluationConfig()
    asking: dict[str, Asking]
    """By benchmark."""
    missing_scenes: MissingScenes = "refuse"
    """What questions on a scene do that could not be prepared."""
