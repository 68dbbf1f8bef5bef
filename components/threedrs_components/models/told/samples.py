"""What step "samples" is told, as far as readers of the student need it."""

from __future__ import annotations

from threedrs_components.benchmarks.asking import CandidateChoice
from threedrs_components.benchmarks.wording import Wording
from threedrs_platform.config import Config
from threedrs_platform.config.kinds import Chosen


class Evaluated(Config):
    """One benchmark to evaluate."""

    loader: Chosen
    split: str


class SampledAs(Config):
    """Which annotations are asked, and in which words."""

    evaluated: tuple[Evaluated, ...]
    wording: Wording = Wording()
    candidates: CandidateChoice = "proposals"
