"""The recipe of a cell of a run, read from what its steps were told and what they have made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TypeVar

from threedrs_components.benchmarks.asking import CandidateChoice
from threedrs_components.benchmarks.loader import Loader
from threedrs_components.benchmarks.scorer import Scorer
from threedrs_components.models.recipe import Evaluated, Recipe
from threedrs_components.models.told.predict import AskedAs
from threedrs_components.models.told.prepare import PreparedAs
from threedrs_components.models.told.samples import SampledAs
from threedrs_components.models.told.score import JudgedAs
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.settings import SceneSettings
from threedrs_components.students.settings import StudentSettings
from threedrs_platform.config import Config, merged
from threedrs_platform.config.faults import build
from threedrs_platform.config.strict_yaml import Place
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.steps import StepSpec

T = TypeVar("T", bound=Config)
FEATURES = "features"
"""The input of step predict with a teacher's maps, of a student with fusion."""


class StepsOfCell(Protocol):
    """The steps of one cell under one seed: what they were told, and what they made."""

    @property
    def run_id(self) -> str:
        """Of the run whose cell it is."""
        ...

    @property
    def title(self) -> str:
        """Cell and seed."""
        ...

    @property
    def specs(self) -> Mapping[str, StepSpec]:
        """The steps by role, as they were planned."""
        ...

    def folder(self, role: str) -> Path:
        """What a step made, verified.

        Raises:
            ConfigError: the cell has no such step, or it has not succeeded.
            ArtifactError: the store no longer holds it.
        """
        ...


def recipe_of(steps: StepsOfCell) -> Recipe:
    """The trained student of a cell, asked as the cell asks it.

    Raises:
        ConfigError: it has not been trained yet, or its steps were told what nobody reads today.
        ArtifactError: the store no longer holds it.
    """
    folder = steps.folder(student_role(steps))
    asked, read = _told(steps, "predict", AskedAs), _told(steps, "samples", SampledAs)
    judged = [each.open(Scorer) for each in _told(steps, "score", JudgedAs).scorers]
    scorers = {each.kind: each for each in judged}
    loaders = [each.loader.open(Loader) for each in read.evaluated]
    return Recipe(
        title=steps.title,
        folder=folder,
        student=asked.student.open(StudentSettings),
        dtype=asked.evaluation.dtype,
        prepare=prepare_settings(steps).of_evaluation(),
        wording=read.wording,
        benchmarks={
            each.kind: Evaluated(each, asked.asking[each.kind], scorers[each.kind])
            for each in loaders
        },
        source=f"the settings of run {steps.run_id}",
        features=_features(steps),
    )


def spec_of(steps: StepsOfCell, role: str) -> StepSpec:
    """One step as it was planned.

    Raises:
        ConfigError: the cell has no such step.
    """
    if role not in steps.specs:
        known = ", ".join(steps.specs)
        raise ConfigError([Fault(f"{steps.title} has no step {role!r}; it has {known}")])
    return steps.specs[role]


def student_role(steps: StepsOfCell) -> str:
    """The step that made the student: where nothing is trained, that of its start."""
    return "finetune" if "finetune" in steps.specs else "pretrain"


def scene_settings(steps: StepsOfCell) -> SceneSettings:
    """What opens the scenes artifact of a cell."""
    return _told(steps, "prepare", PreparedAs).scenes.open(SceneSettings)


def prepare_settings(steps: StepsOfCell) -> PrepareConfig:
    """How the scenes of a cell were prepared."""
    return _told(steps, "prepare", PreparedAs).prepare


def candidates_wanted(steps: StepsOfCell) -> CandidateChoice:
    """The boxes among which the cell's own answers were chosen."""
    return _told(steps, "samples", SampledAs).candidates


def _told(steps: StepsOfCell, role: str, kind: type[T]) -> T:
    """What a step was told, conduct included, as far as it stands in a class.

    Raises:
        ConfigError: the cell has no such step, or another version has told it something else.
    """
    spec = spec_of(steps, role)
    known = merged(spec.params, spec.settings)
    own = {name: known[name] for name in kind.model_fields if name in known}
    told, faults = build(kind, own, lambda *_: Place(steps.title), (role,))
    if told is None:
        raise ConfigError(faults)
    return told


def _features(steps: StepsOfCell) -> Path | None:
    """Of the teacher whose maps the student reads in evaluation as in training."""
    read = spec_of(steps, "predict").inputs.get(FEATURES)
    roles = [role for role, spec in steps.specs.items() if read is not None and spec == read]
    return steps.folder(roles[0]) if roles else None
