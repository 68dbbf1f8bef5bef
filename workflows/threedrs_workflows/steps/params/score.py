"""Parameters of step "score"."""

from __future__ import annotations

from threedrs_components.models.told.score import JudgedAs
from threedrs_workflows.steps.params import StepParams


class ScoreParams(JudgedAs, StepParams):
    """How predictions are judged."""

    packages: dict[str, str] = {}  # noqa: RUF012
    """Versions of packages whose data scorers read: no import statement leads to those."""
