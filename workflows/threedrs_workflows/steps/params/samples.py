"""Parameters of step "samples"."""

from __future__ import annotations

from threedrs_components.benchmarks.config import BenchmarksConfig
from threedrs_components.benchmarks.held_out import HeldOut
from threedrs_workflows.steps.params import StepParams


class SamplesParams(StepParams):
    """Which annotations become samples."""

    benchmarks: BenchmarksConfig
    content: dict[str, str] = {}  # noqa: RUF012
    """Digests of annotation files outside, by setting."""
    held_out: HeldOut | None = None
