"""A scene that somebody asks about: a folder of posed RGB-D frames, or one that a run prepared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from threedrs_components.benchmarks.asking import CandidateChoice
from threedrs_components.scenes.boxes import read_candidates
from threedrs_components.scenes.frames import MILLIMETRES
from threedrs_components.scenes.preparation_report import scene_warnings
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.prepared import (
    PreparedScene,
    PreparedScenes,
    choose_frames,
    prepare_scene,
)
from threedrs_components.scenes.rgbd_folder import MIN_FRAMES, RGBDFolder
from threedrs_components.scenes.settings import SceneSettings
from threedrs_components.students.batches import (
    Candidates,
    object_candidates,
    proposal_candidates,
)
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.errors import ConfigError, Fault, ThreedrsError
from threedrs_platform.records import Float32, Scene
from threedrs_workflows.models.of_cell import CellSteps
from threedrs_workflows.models.recipe import Recipe
from threedrs_workflows.steps.params.prepare import PrepareParams

MOST_NAMED = 5
Report = Callable[[str], None]


@dataclass(frozen=True)
class AskedScene:
    """One scene, ready for a student, with the frames behind it where they can be read."""

    prepared: PreparedScene
    frames: Scene | None
    """Of the same frame list."""

    @property
    def choice(self) -> CandidateChoice | None:
        """The boxes to choose among: proposals where there are any, else the scene's own."""
        if len(self.prepared.proposals):
            return "proposals"
        return "ground_truth" if len(self.prepared.boxes) else None

    @property
    def candidates(self) -> Candidates:
        """Those boxes, maybe none."""
        of_scene = proposal_candidates if self.choice == "proposals" else object_candidates
        return of_scene(self.prepared)

    @property
    def labels(self) -> tuple[str, ...]:
        """What is known of each of them; proposals have no names."""
        return self.prepared.labels if self.choice == "ground_truth" else ()


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


def scene_in_folder(
    source: RGBDFolder, config: PrepareConfig, proposals: Path | None, report: Report
) -> AskedScene:
    """Read and prepare the one scene of a folder.

    Args:
        source: the folder.
        config: how the student reads scenes.
        proposals: file of candidate boxes by scene, see `scenes.boxes.read_box_lists`.
        report: told what should be known about the scene.

    Raises:
        ConfigError: the folder holds several scenes, or the file has no boxes of this one.
        SceneError: the scene is unusable.
    """
    scene_ids = source.scenes()
    if len(scene_ids) > 1:
        shown = ", ".join(scene_ids[:MOST_NAMED])
        raise ConfigError(
            [Fault(f"{source.root} holds {len(scene_ids)} scenes; name one: {shown}", "--scene")]
        )
    (scene_id,) = scene_ids
    scene = choose_frames(source.load(scene_id), config.num_frames)
    given = None if proposals is None else _proposed(proposals, scene_id)
    prepared = prepare_scene(scene, given, config)
    for line in scene_warnings(scene_id, prepared.dropped_frames, prepared.checks):
        report(line)
    return AskedScene(prepared, scene)


def scene_of_run(steps: CellSteps, scene_id: str, report: Report) -> AskedScene:
    """One of the scenes that were prepared for a cell.

    Raises:
        ConfigError: there is none of that name.
        ArtifactError: the store no longer holds them.
    """
    known = PreparedScenes(steps.folder("prepare"))
    if scene_id not in known.scenes():
        hint = did_you_mean(scene_id, known.scenes())
        message = f"no folder {scene_id!r} is here, and run {steps.run_id} has no such scene{hint}"
        raise ConfigError([Fault(message, "--scene")])
    prepared = known[scene_id]
    try:
        settings = steps.params("prepare", PrepareParams).scenes.open(SceneSettings)
        scene = settings.open(steps.folder("scenes")).load(scene_id)
        frames = choose_frames(scene, len(prepared.frame_names))
    except ThreedrsError as error:  # answers need tokens alone; frames are for pictures
        report(f"no pictures: the frames of {scene_id} cannot be read any more: {error}")
        return AskedScene(prepared, None)
    return AskedScene(prepared, frames)


def _proposed(file: Path, scene_id: str) -> Float32:
    lists = read_candidates(file)
    if scene_id not in lists:
        hint = did_you_mean(scene_id, lists)
        raise ConfigError(
            [Fault(f"{file} has no boxes of scene {scene_id!r}{hint}", "--proposals")]
        )
    return lists[scene_id]
