"""Weights that the students of a grid start from, checked by their headers before anything runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from threedrs_components.benchmarks.registry import BENCHMARKS
from threedrs_components.students.start import check_start
from threedrs_platform.errors import CheckpointError, ConfigError, Fault
from threedrs_workflows.experiment import Experiment


def refuse_wrong_starts(experiments: Iterable[Experiment]) -> None:
    """Check every checkpoint that is here; what is not here is somebody else's to miss.

    Raises:
        ConfigError: lists every student whose weights are others than its settings say.
    """
    faults = {fault for experiment in experiments for fault in _faults(experiment)}
    if faults:
        raise ConfigError(sorted(faults, key=str))


def _faults(experiment: Experiment) -> Iterable[Fault]:
    student = experiment.student_config()
    if student.checkpoint is None or not Path(student.checkpoint).exists():
        return
    benchmarks = [BENCHMARKS[name] for name in experiment.benchmarks.names]
    chooses = any("text" not in benchmark.takes for benchmark in benchmarks)
    try:
        check_start(student, Path(student.checkpoint), chooses and not experiment.trains())
    except CheckpointError as error:
        yield Fault(str(error), f"students.{experiment.student}.checkpoint")
