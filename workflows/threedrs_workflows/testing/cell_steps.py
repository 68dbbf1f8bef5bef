"""The steps of a cell alone, where tests need no grid."""

from __future__ import annotations

from threedrs_platform.identity.file_digests import FileDigests
from threedrs_platform.steps import StepSpec
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.plan.cell_steps import StepMaker


def cell_steps(experiment: Experiment, seed: int, digests: FileDigests) -> dict[str, StepSpec]:
    """Steps of one cell and seed by role; see `StepMaker.steps`."""
    return StepMaker(digests).steps(experiment, seed)
