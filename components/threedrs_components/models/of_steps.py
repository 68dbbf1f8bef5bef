"""The recipe of a cell of a run, read from what its steps were told and what they have made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from threedrs_components.benchmarks.asking import Asking, CandidateChoice
from threedrs_components.benchmarks.loader import Loader
from threedrs_components.benchmarks.scorer import Scorer
from threedrs_components.benchmarks.wording import Wording
from threedrs_components.models.recipe import Evaluated, Recipe
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.settings import SceneSettings
from threedrs_components.students.settings import StudentSettings
from threedrs_components.training.evaluation_config import EvaluationConfig
from threedrs_platform.config import merged
from threedrs_platform.config.kinds import Chosen
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.steps import StepSpec

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
        ConfigError: it has not been trained yet.
        ArtifactError: the store no longer holds it.
    """
    folder = steps.folder(student_role(steps))
    asked, read = _told(steps, "predict"), _told(steps, "samples")
    scorers = {each.kind: each for each in _all(_told(steps, "score")["scorers"], Scorer)}
    loaders = _all([each["loader"] for each in read["evaluated"]], Loader)
    prepare = prepare_settings(steps)
    return Recipe(
        title=steps.title,
        folder=folder,
        student=_opened(asked["student"], StudentSettings),
        dtype=EvaluationConfig.model_validate(asked.get("evaluation", {})).dtype,
        prepare=prepare.of_evaluation(),
        wording=Wording.model_validate(read.get("wording", {})),
        benchmarks={
            each.kind: Evaluated(
                each, Asking.model_validate(asked["asking"][each.kind]), scorers[each.kind]
            )
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
    settings: SceneSettings = _opened(_told(steps, "prepare")["scenes"], SceneSettings)
    return settings


def prepare_settings(steps: StepsOfCell) -> PrepareConfig:
    """How the scenes of a cell were prepared."""
    return PrepareConfig.model_validate(_told(steps, "prepare")["prepare"])


def candidates_wanted(steps: StepsOfCell) -> CandidateChoice:
    """The boxes among which the cell's own answers were chosen."""
    return Asking.model_validate(
        {"candidates": _told(steps, "samples").get("candidates", "proposals")}
    ).candidates


def _told(steps: StepsOfCell, role: str) -> Mapping[str, Any]:
    """Parameters and conduct of a step together.

    Raises:
        ConfigError: the cell has no such step.
    """
    spec = spec_of(steps, role)
    told: Mapping[str, Any] = merged(spec.params, spec.settings)
    return told


def _opened(chosen: Any, base: type[Any]) -> Any:
    return Chosen.model_validate(chosen).open(base)


def _all(chosen: Any, base: type[Any]) -> list[Any]:
    return [_opened(each, base) for each in chosen]


def _features(steps: StepsOfCell) -> Path | None:
    """Of the teacher whose maps the student reads in evaluation as in training."""
    read = spec_of(steps, "predict").inputs.get(FEATURES)
    roles = [role for role, spec in steps.specs.items() if read is not None and spec == read]
    return steps.folder(roles[0]) if roles else None
