"""Parameters of step "samples"."""

from __future__ import annotations

from threedrs_components.benchmarks.annotation_files import AnnotationPlaces
from threedrs_components.benchmarks.asking import MissingScenes
from threedrs_components.benchmarks.held_out import HeldOut
from threedrs_components.models.told.samples import SampledAs
from threedrs_platform.config.kinds import Chosen
from threedrs_workflows.steps.params import StepParams

RECORDS = "records."
"""Before the name of an annotation file among the digests of `content`."""


class SamplesParams(SampledAs, StepParams):
    """Which annotations become samples, and how they are worded."""

    trained: tuple[Chosen, ...]
    """Loaders of the benchmarks whose training split is learned."""
    places: AnnotationPlaces = AnnotationPlaces()
    content: dict[str, str] = {}  # noqa: RUF012
    """Digests of annotation files outside, by setting."""
    held_out: HeldOut | None = None
    missing_scenes: MissingScenes = "refuse"
