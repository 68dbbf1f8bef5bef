"""The trained student of a folder, which holds weights alone, with the settings of a preset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from threedrs_components.benchmarks.registry import BENCHMARKS
from threedrs_components.models.recipe import Evaluated, Recipe
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.students.folder import CONFIG_FILE, is_student
from threedrs_components.students.registry import AnyStudent, stored_config
from threedrs_components.students.settings import StudentSettings
from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.errors import CheckpointError, ConfigError, Fault
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.grid.cells import expand
from threedrs_workflows.grid.presets import preset_names

MICRO, RELEASED = "micro", "as_released"
"""Presets of micro students, and of students of the published sizes."""


def recipe_of_folder(
    folder: Path, preset: str | None = None, settings: Sequence[str] = ()
) -> Recipe:
    """A student in a folder, asked as a preset asks.

    Args:
        folder: written by training here, or published weights of a kind of student.
        preset: says how scenes are prepared, how questions are worded and answers scored; for
            published weights also what student they are. None is `micro` or `as_released`, by the
            size of a student that was trained here.
        settings: `KEY=VALUE` changes to the preset, as `--set` of a grid.

    Raises:
        CheckpointError: the folder holds no student.
        ConfigError: there is no such preset, or a setting is wrong.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise CheckpointError(
            f"{folder}: no {CONFIG_FILE} here; name a folder with a student: one that a run has "
            "trained (`workflows trace CELL` shows its digest), or published weights"
        )
    trained_here = is_student(folder)
    if preset is None and not trained_here:
        raise ConfigError([Fault(_which_preset(folder), "--preset")])
    stored = stored_config(folder) if trained_here else None
    chosen = preset or (MICRO if stored is not None and stored.size == "micro" else RELEASED)
    experiment = preset_experiment(chosen, settings)
    student = stored or _published(experiment, folder)
    prepare = experiment.prepare if stored is None else fitted(experiment.prepare, stored)
    benchmarks = experiment.benchmarks
    return Recipe(
        title=str(folder),
        folder=folder,
        student=student,
        dtype=experiment.evaluation.dtype,
        prepare=prepare.of_evaluation(),
        wording=benchmarks.wording(),
        benchmarks={
            name: Evaluated(
                benchmarks.loader(name), benchmarks.asking(name), benchmarks.scorer(name)
            )
            for name in BENCHMARKS
        },
        source=f"preset {chosen}",
    )


def preset_experiment(preset: str, settings: Sequence[str] = ()) -> Experiment:
    """The tree of a preset, changed by `KEY=VALUE` settings.

    Raises:
        ConfigError: there is no such preset, or a setting is wrong.
    """
    several = [each for each in settings if "," in each and "[" not in each]
    if several:
        raise ConfigError([Fault(f"{several[0]!r} has several values; give one", "--set")])
    text = f"version: 1\nname: model\nseeds: [1]\nbase: {{preset: {preset}}}\n"
    return expand(load_document(text, f"--preset {preset}"), sets=settings).base


def fitted(prepare: PrepareConfig, student: StudentSettings) -> PrepareConfig:
    """The same for frames of the size, and tokens of the number, that a student has."""
    whole = student.covered == student.image_size
    sizes = {
        "image_size": student.image_size,
        "covered": None if whole else student.covered,
        "grid": student.grid,
        "patch_grid": student.patch_grid,
    }
    return prepare.model_copy(update=sizes)


def _published(experiment: Experiment, folder: Path) -> AnyStudent:
    return experiment.student_config().model_copy(update={"checkpoint": str(folder)})


def _which_preset(folder: Path) -> str:
    return (
        f"{folder} holds published weights, and no config.json tells how 3D reaches them; name the "
        f"preset whose student they are: {', '.join(preset_names())}"
    )
