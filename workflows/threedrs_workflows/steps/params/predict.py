"""Parameters of step "predict"."""

from __future__ import annotations

from threedrs_components.benchmarks.asking import MissingScenes
from threedrs_components.models.told.predict import AskedAs
from threedrs_workflows.steps.params import StepParams


class PredictParams(AskedAs, StepParams):
    """Who answers, and how each benchmark asks."""

    missing_scenes: MissingScenes = "refuse"
    """What questions on a scene do that could not be prepared."""
