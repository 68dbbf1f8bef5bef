"""A scene that somebody asks about: a folder of posed RGB-D frames, or one that a run prepared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from threedrs_components.benchmarks.asking import CandidateChoice
from threedrs_components.models.of_steps import (
    StepsOfCell,
    candidates_wanted,
    prepare_settings,
    scene_settings,
)
from threedrs_components.scenes.boxes import read_candidates
from threedrs_components.scenes.preparation_report import scene_warnings
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.prepared import (
    PreparedScene,
    PreparedScenes,
    choose_frames,
    prepare_scene,
)
from threedrs_components.scenes.rgbd_folder import RGBDFolder
from threedrs_components.students.batches import (
    Candidates,
    object_candidates,
    proposal_candidates,
)
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.errors import ConfigError, Fault, ThreedrsError
from threedrs_platform.records import Float32, Scene

MOST_NAMED = 5
Report = Callable[[str], None]


@dataclass(frozen=True)
class AskedScene:
    """One scene, ready for a student, with the frames behind it where they can be read."""

    prepared: PreparedScene
    frames: Scene | None
    """Of the same frame list."""
    wanted: CandidateChoice = "proposals"
    """The boxes to choose among, where there are any such."""

    @property
    def choice(self) -> CandidateChoice | None:
        """The boxes to choose among: those wanted, else the others; None if there are none."""
        there: dict[CandidateChoice, bool] = {
            "proposals": len(self.prepared.proposals) > 0,
            "ground_truth": len(self.prepared.boxes) > 0,
        }
        found = [each for each in (self.wanted, *there) if there[each]]
        return found[0] if found else None

    @property
    def candidates(self) -> Candidates:
        """Those boxes, maybe none."""
        of_scene = proposal_candidates if self.choice == "proposals" else object_candidates
        return of_scene(self.prepared)

    @property
    def labels(self) -> tuple[str, ...]:
        """What is known of each of them; proposals have no names."""
        return self.labels_of(self.choice)

    def labels_of(self, choice: CandidateChoice | None) -> tuple[str, ...]:
        """The same of boxes of one kind."""
        return self.prepared.labels if choice == "ground_truth" else ()


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
    scene = choose_frames(source.load(scene_id), config.num_frames, config.coverage_voxel_m)
    given = None if proposals is None else _proposed(proposals, scene_id)
    prepared = prepare_scene(scene, given, config)
    for line in scene_warnings(scene_id, prepared.dropped_frames, prepared.checks):
        report(line)
    return AskedScene(prepared, scene)


def scene_of_run(steps: StepsOfCell, scene_id: str, report: Report) -> AskedScene:
    """One of the scenes that were prepared for a cell. Ids are looked up, never joined to a path.

    Raises:
        ConfigError: there is none of that name.
        ArtifactError: the store no longer holds them.
    """
    known = PreparedScenes(steps.folder("prepare"))
    if scene_id not in known.scenes():
        hint = did_you_mean(scene_id, known.scenes())
        message = f"no folder {scene_id!r} is here, and run {steps.run_id} has no such scene{hint}"
        raise ConfigError([Fault(message, "--scene")])
    prepared, candidates = known[scene_id], candidates_wanted(steps)
    try:
        source = scene_settings(steps).open(steps.folder("scenes"))
        config = prepare_settings(steps)
        scene, count = source.load(scene_id), len(prepared.frame_names)
        frames = choose_frames(scene, count, config.coverage_voxel_m)
    except ThreedrsError as error:  # answers need tokens alone; frames are for pictures
        report(f"no pictures: the frames of {scene_id} cannot be read any more: {error}")
        return AskedScene(prepared, None, candidates)
    if frames.frame_names != prepared.frame_names:
        report(f"no pictures: the frames of {scene_id} are others now than were prepared")
        return AskedScene(prepared, None, candidates)
    return AskedScene(prepared, frames, candidates)


def _proposed(file: Path, scene_id: str) -> Float32:
    lists = read_candidates(file)
    if scene_id not in lists:
        hint = did_you_mean(scene_id, lists)
        raise ConfigError(
            [Fault(f"{file} has no boxes of scene {scene_id!r}{hint}", "--proposals")]
        )
    return lists[scene_id]
