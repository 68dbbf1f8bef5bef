"""Parameters of step "score"."""

from __future__ import annotations

from threedrs_platform.config.kinds import Chosen
from threedrs_workflows.steps.params import StepParams


class ScoreParams(StepParams):
    """How predictions are judged."""

    scorers: tuple[Chosen, ...]
    """Of the evaluated benchmarks."""
    packages: dict[str, str] = {}  # noqa: RUF012
    """Versions of packages whose data scorers read: no import statement leads to those."""
