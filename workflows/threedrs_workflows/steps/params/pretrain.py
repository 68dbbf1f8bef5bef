"""Parameters of step "pretrain"."""

from __future__ import annotations

from threedrs_components.pretraining.student_config import MicroPretrainingConfig
from threedrs_platform.config.kinds import Chosen
from threedrs_workflows.steps.params import StepParams


class PretrainParams(StepParams):
    """Where a student starts: from weights that are given, or from its 2D pretraining."""

    student: Chosen
    student_pretraining: MicroPretrainingConfig | None = None
    """None where weights are given."""
    weights: str | None = None
    """Digest of given weights."""
