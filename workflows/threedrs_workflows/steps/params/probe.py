"""Parameters of step "probe"."""

from __future__ import annotations

from threedrs_components.benchmarks.held_out import HeldOut
from threedrs_components.probing.config import ProbeConfig
from threedrs_components.training.evaluation_config import EvaluationConfig
from threedrs_platform.config.kinds import Chosen
from threedrs_workflows.steps.params import StepParams


class ProbeParams(StepParams):
    """Which features are probed, and on which scenes."""

    probe: ProbeConfig
    fit_split: str
    test_split: str
    held_out: HeldOut | None = None
    student: Chosen | None = None
    """Whose hidden states; None probes stored features."""
    evaluation: EvaluationConfig | None = None
    """How that student computes them."""
