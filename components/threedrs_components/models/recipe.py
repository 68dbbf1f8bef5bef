"""How one trained student is shown scenes, asked and judged: what a grid says of it, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from threedrs_components.benchmarks.asking import Asking
from threedrs_components.benchmarks.loader import Loader
from threedrs_components.benchmarks.scorer import Scorer
from threedrs_components.benchmarks.wording import Wording
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.students.folder import is_student, read_student_config
from threedrs_components.students.settings import StudentSettings
from threedrs_platform.errors import CheckpointError

if TYPE_CHECKING:
    from threedrs_components.students.student import Student

FUSED = "fusion"
"""Key of config.json of students that read a teacher's features beside the frames."""


@dataclass(frozen=True)
class Evaluated:
    """One benchmark as a student meets it."""

    loader: Loader
    asking: Asking
    scorer: Scorer


@dataclass(frozen=True)
class Recipe:
    """A trained student, and everything that its answers depend on but the scene and question."""

    title: str
    """What people call it."""
    folder: Path
    """Its weights, or an artifact that stands for them (see `students.folder`)."""
    student: StudentSettings
    dtype: str
    """Number format of its weights, as `EvaluationConfig.dtype`."""
    prepare: PrepareConfig
    """Of scenes outside the training split."""
    wording: Wording
    benchmarks: Mapping[str, Evaluated]
    """By name."""
    source: str
    """Where all but the weights comes from, in words."""
    features: Path | None = None
    """What its run has stored of a teacher for a student that reads it beside the frames."""


def open_model(recipe: Recipe, device: str | None = None) -> Student:
    """Load the student of a recipe, in evaluation mode.

    Args:
        recipe: of the student.
        device: of its weights; None is a GPU where torch finds one, else the CPU.

    Raises:
        CheckpointError: it cannot be read, does not fit, or reads a teacher's features and the
            recipe has none.
        ConfigError: torch has no such device here.
    """
    import torch  # seconds that a mistake in the flags need not wait for

    from threedrs_components.devices import named_device
    from threedrs_components.students.build import student_at

    if recipe.features is None:
        refuse_fused(recipe.folder)
    chosen = named_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return student_at(recipe.folder, recipe.student, recipe.dtype, chosen)


def refuse_fused(folder: Path) -> None:
    """Refuse students that cannot answer from frames alone.

    Raises:
        CheckpointError: the student in this folder reads a teacher's features.
    """
    if is_student(folder) and FUSED in read_student_config(folder):
        raise CheckpointError(
            f"{folder}: this student reads a 3D teacher's features beside the frames (fusion), "
            "and none are made here; ask the cell of a run about a scene of that run, for which "
            "step extract has stored them"
        )
