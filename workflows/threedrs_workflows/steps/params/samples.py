"""Parameters of step "samples"."""

from __future__ import annotations

from threedrs_components.benchmarks.annotation_files import AnnotationPlaces
from threedrs_components.benchmarks.asking import CandidateChoice, MissingScenes
from threedrs_components.benchmarks.held_out import HeldOut
from threedrs_components.benchmarks.wording import Wording
from threedrs_platform.config import Config
from threedrs_platform.config.kinds import Chosen
from threedrs_workflows.steps.params import StepParams

RECORDS = "records."
"""Before the name of an annotation file among the digests of `content`."""


class Evaluated(Config):
    """One benchmark to evaluate."""

    loader: Chosen
    split: str


class SamplesParams(StepParams):
    """Which annotations become samples, and how they are worded."""

    trained: tuple[Chosen, ...]
    """Loaders of the benchmarks whose training split is learned."""
    evaluated: tuple[Evaluated, ...]
    wording: Wording = Wording()
    candidates: CandidateChoice = "proposals"
    places: AnnotationPlaces = AnnotationPlaces()
    content: dict[str, str] = {}  # noqa: RUF012
    """Digests of annotation files outside, by setting."""
    held_out: HeldOut | None = None
    missing_scenes: MissingScenes = "refuse"
