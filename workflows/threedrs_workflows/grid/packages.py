"""Optional packages that the cells of a grid need, looked for before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.util import find_spec

from threedrs_components.metrics.meteor.data import installed_data
from threedrs_platform.errors import ConfigError, DataError, Fault
from threedrs_workflows.experiment import Experiment


def refuse_missing_packages(experiments: Iterable[Experiment]) -> None:
    """Check that training finds on this machine what its settings ask for.

    Raises:
        ConfigError: lists each setting whose package is not installed, with the cure.
    """
    _refuse(need for each in experiments for need in _needs(each))


def refuse_missing_readers(experiments: Iterable[Experiment]) -> None:
    """Check that this machine has what reads the scenes and what METEOR is made of: keys of steps
    hold their versions.

    Raises:
        ConfigError: names the package that is not installed, with the cure.
    """
    experiments = list(experiments)
    scenes = {id(each.scenes): each.scenes for each in experiments}  # cells share their sections
    packages = (each.package for each in scenes.values())
    _refuse(("scenes.kind", *package) for package in packages if package is not None)
    if message := missing_meteor(experiments):
        raise ConfigError([Fault(message, "benchmarks.text_metrics")])


def missing_meteor(experiments: Iterable[Experiment]) -> str:
    """Why METEOR, which a cell asks for, cannot be measured here; empty where it can."""
    configs = {id(each.benchmarks): each.benchmarks for each in experiments}
    scorers = (config.scorer(name) for config in configs.values() for name in config.names)
    if not any(scorer.uses_meteor for scorer in scorers):
        return ""
    try:
        installed_data()
    except DataError as error:
        return str(error)
    return ""


def _refuse(needs: Iterable[tuple[str, str, str]]) -> None:
    faults = [
        Fault(f"needs the package {package}: pip install {source}", path)
        for path, package, source in dict.fromkeys(needs)
        if find_spec(package) is None
    ]
    if faults:
        raise ConfigError(faults)


def _needs(experiment: Experiment) -> Iterator[tuple[str, str, str]]:
    """Settings, the packages they need, and what pip is to be told."""
    if not experiment.trains():
        return
    if experiment.student_config().lora is not None:
        yield f"students.{experiment.student}.lora", "peft", "-e '.[one-gpu]'"
    if experiment.training.optimizer == "adamw_8bit":
        yield "training.optimizer", "bitsandbytes", "-e '.[one-gpu]'"
    if experiment.text.fused:
        yield "text.fused", "liger_kernel", "liger-kernel"
