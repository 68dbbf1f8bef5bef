"""A scene by the name that a person gives it: a folder, or the id of one that a run prepared."""

from __future__ import annotations

from pathlib import Path

from threedrs_components.models.recipe import Recipe
from threedrs_components.models.scenes import AskedScene, Report, scene_in_folder, scene_of_run
from threedrs_components.scenes.frames import MILLIMETRES
from threedrs_components.scenes.rgbd_folder import MIN_FRAMES, RGBDFolder
from threedrs_platform.errors import ConfigError, Fault
from threedrs_workflows.models.of_cell import CellSteps


def open_scene(
    name: str | Path,
    recipe: Recipe,
    steps: CellSteps | None,
    report: Report,
    *,
    proposals: Path | None = None,
    min_frames: int = MIN_FRAMES,
    depth_scale: float = MILLIMETRES,
) -> AskedScene:
    """A scene by the name of its folder, or by its id in a run.

    Args:
        name: of the folder, or the id.
        recipe: of the student that is to see it.
        steps: of the student's cell, if it has one.
        report: told what should be known about the scene.
        proposals: see `scene_in_folder`.
        min_frames: frames that must be left of a folder that lost bad ones.
        depth_scale: units of whole-number depth images per metre.

    Raises:
        ConfigError: there is no such scene, or it has candidates of its own.
        SceneError: it is unusable.
    """
    if Path(name).is_dir():
        source = RGBDFolder(Path(name), recipe.prepare.num_frames, min_frames, depth_scale)
        return scene_in_folder(source, recipe.prepare, proposals, report)
    if steps is None:
        message = f"no folder {str(name)!r}; only a cell of a run has scenes that go by an id"
        raise ConfigError([Fault(message, "--scene")])
    if proposals is not None:
        message = "the scenes of a run have candidates of their own; leave it out"
        raise ConfigError([Fault(message, "--proposals")])
    return scene_of_run(steps, str(name), report)
