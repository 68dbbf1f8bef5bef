"""Parameters of step "finetune"."""

from __future__ import annotations

from threedrs_components.training.config import TrainingConfig
from threedrs_platform.config.kinds import Chosen
from threedrs_workflows.steps.params import StepParams


class FinetuneParams(StepParams):
    """What is trained, how, on what, towards what."""

    student: Chosen
    training: TrainingConfig
    text_split: str
    seed: int
    objectives: tuple[Chosen, ...]
    """Those that take part, in the order in which their losses are added up."""
