"""Trained students: loaded, and asked about a scene."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from threedrs_components.models.recipe import open_model, refuse_fused
from threedrs_workflows.cli.model_arguments import Named, find_model

if TYPE_CHECKING:
    from threedrs_components.models.asking import Answer, Kind
    from threedrs_components.students.student import Student

KINDS: dict[str, Kind] = {"words": "text", "boxes": "ground"}
"""Of answers, by the name that callers give them."""
_logger = logging.getLogger(__name__)


def load_student(
    model: str | PathLike[str],
    *,
    run: str | None = None,
    seed: int | None = None,
    preset: str | None = None,
    settings: Sequence[str] = (),
    device: str | None = None,
    workspace: str | PathLike[str] | None = None,
    database: str | None = None,
) -> Student:
    """A trained student, in evaluation mode.

    `student.prefill(frames, layers)` gives hidden states [scenes, frames, rows, columns, width] at
    the visual tokens; see `threedrs_components.students.student`.

    Args:
        model: a cell's id, name or label, or a folder with a student.
        run: of the cell; None is the newest.
        seed: of the cell; None is its lowest.
        preset: of a folder: the settings that its weights are used with; published weights need it.
        settings: `KEY=VALUE` changes to the preset.
        device: of its weights; None is a GPU where there is one, else the CPU.
        workspace: folder; None is `THREEDRS_WORKSPACE` or `.threedrs`.
        database: URL; None is `THREEDRS_DATABASE_URL` or a file in the workspace.

    Raises:
        ConfigError: there is no such run, cell, seed or preset.
        CheckpointError: the folder holds no student, or one that does not fit.
    """
    named = Named(fspath(model), run, seed, preset, tuple(settings), workspace, database)
    with ExitStack() as opened:
        recipe, _ = find_model(named, opened)
        refuse_fused(recipe.folder)
        return open_model(recipe, device)


def ask(
    model: str | PathLike[str],
    scene: str | PathLike[str],
    questions: str | Sequence[str],
    *,
    answer_by: Literal["words", "boxes"] | None = None,
    proposals: str | PathLike[str] | None = None,
    run: str | None = None,
    seed: int | None = None,
    preset: str | None = None,
    settings: Sequence[str] = (),
    device: str | None = None,
    workspace: str | PathLike[str] | None = None,
    database: str | None = None,
) -> list[Answer]:
    """Answers of a trained student about one scene, in the order of the questions.

    Boxes are [x, y, z, dx, dy, dz]: centre and size in metres. The frames are run through once,
    however many questions there are.

    Args:
        model: as of `load_student`.
        scene: folder of posed RGB-D frames, or the id of a scene that the cell's run prepared.
        questions: one or several.
        answer_by: None is boxes for "find ...", "locate ...", "point at ...", words for all others.
        proposals: file of candidate boxes by scene, for a folder.
        run: as of `load_student`, like all that follow.
        seed: of the cell.
        preset: of a folder with a student.
        settings: `KEY=VALUE` changes to the preset.
        device: of the weights.
        workspace: folder.
        database: URL.

    Raises:
        ConfigError: there is no such run, cell, seed, preset or scene.
        CheckpointError: the folder holds no student, or one that does not fit.
        DataError: the scene is unusable, or a box is wanted and there are none to choose among.
    """
    from threedrs_components.models.asking import ask as answers_to
    from threedrs_components.models.asking import kind_of
    from threedrs_workflows.models.scenes import open_scene

    asked = [questions] if isinstance(questions, str) else list(questions)
    named = Named(fspath(model), run, seed, preset, tuple(settings), workspace, database)
    with ExitStack() as opened:
        recipe, steps = find_model(named, opened)
        file = None if proposals is None else Path(proposals)
        seen = open_scene(fspath(scene), recipe, steps, _logger.warning, proposals=file)
        pairs = [(each, KINDS[answer_by] if answer_by else kind_of(each)) for each in asked]
        return answers_to(recipe, open_model(recipe, device), seen, pairs)
