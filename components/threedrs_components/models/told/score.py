"""What step "score" is told, as far as readers of the student need it."""

from __future__ import annotations

from threedrs_platform.config import Config
from threedrs_platform.config.kinds import Chosen


class JudgedAs(Config):
    """How predictions are judged."""

    scorers: tuple[Chosen, ...]
    """Of the evaluated benchmarks."""
