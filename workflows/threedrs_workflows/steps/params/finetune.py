"""Parameters of step "finetune"."""

from __future__ import annotations

from typing import Annotated

from threedrs_components.students.fusion_settings import FusionSettings
from threedrs_components.training.config import TrainingConfig
from threedrs_platform.config import LATER
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
    fusion: Annotated[FusionSettings | None, LATER] = None
    """How the student reads the teacher's features, too; None: it does not."""
