"""Parameters of step "teacher"."""

from __future__ import annotations

from threedrs_platform.config.kinds import Chosen
from threedrs_workflows.steps.params import StepParams


class TeacherParams(StepParams):
    """How a micro teacher is trained."""

    pretraining: Chosen
