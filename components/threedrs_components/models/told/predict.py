"""What step "predict" is told, as far as readers of the student need it."""

from __future__ import annotations

from threedrs_components.benchmarks.asking import Asking
from threedrs_components.training.evaluation_config import EvaluationConfig
from threedrs_platform.config import Config
from threedrs_platform.config.kinds import Chosen


class AskedAs(Config):
    """Who answers, and how each benchmark asks."""

    student: Chosen
    evaluation: EvaluationConfig = EvaluationConfig()
    asking: dict[str, Asking]
    """By benchmark."""
