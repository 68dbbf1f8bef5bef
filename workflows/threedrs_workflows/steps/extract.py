"""Step "extract": what a teacher makes of every scene that somebody reads, once for all."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from threedrs_components.devices import device_for
from threedrs_components.scenes.settings import SceneSettings
from threedrs_components.scenes.source import SceneSource
from threedrs_components.teachers.depth import depth_of
from threedrs_components.teachers.extraction import SceneOutcome, extract_each, reasons
from threedrs_components.teachers.settings import TeacherSettings
from threedrs_components.teachers.teacher import Teacher
from threedrs_platform.errors import DataError
from threedrs_platform.records import Metric
from threedrs_platform.sealed import keep_sound, require_sound
from threedrs_platform.steps import StepTask
from threedrs_platform.store.features import STATISTICS, feature_path, write_statistics
from threedrs_workflows.steps.params.extract import ExtractParams
from threedrs_workflows.steps.processes import Work, gpu_processes, over_gpus


def run(task: StepTask) -> None:
    """Inputs: scenes, and teacher where the grid trains one.

    Each scene is committed to the scratch folder on its own, so a killed attempt loses one scene.
    A process for each GPU extracts them.
    """
    params = ExtractParams.of(task)
    source = open_source(params, task.inputs["scenes"])
    splits = {
        split: [each for each in source.scenes(split) if params.concerns(each)]
        for split in params.splits
    }
    scene_ids = sorted({scene_id for found in splits.values() for scene_id in found})
    if not scene_ids:
        raise DataError("none of the scenes that the annotations name is among the scenes")
    kept = [keep_sound(feature_path(task.scratch, each), task.warn) for each in scene_ids]
    fresh = kept.count(False)
    extracting = Extracting(
        params,
        task.inputs["scenes"],
        task.inputs.get("teacher"),
        task.settings.get("gpus") or 0,
        task.scratch,
    )
    started = time.monotonic()
    extracted = dict(over_gpus(task, extracting, scene_ids))
    seconds = time.monotonic() - started
    skipped = reasons(extracted)
    for scene_id, reason in skipped.items():
        task.warn(f"skipped scene {scene_id}: {reason}")
    if cut := {scene_id: each.cut for scene_id, each in sorted(extracted.items()) if each.cut}:
        most = max(cut, key=cut.__getitem__)
        task.warn(
            f"{len(cut)} scenes: the teacher's framing cuts off some of their frames, most of "
            f"scene {most}: {cut[most]:.0%} (framing: squash cuts nothing)"
        )
    statistics = splits[params.statistics_split]
    write_statistics(task.scratch, [each for each in statistics if each not in skipped])
    _publish(task, [each for each in scene_ids if each not in skipped])
    (task.out / "bad_scenes.json").write_text(json.dumps(sorted(skipped)))
    done = len(scene_ids) - len(skipped)
    task.metric(Metric("scenes/extracted", done, n=done, unit="scenes"))
    if fresh:
        # Of one process: as many scenes as it has GPUs are worked on at once.
        mean = seconds * min(gpu_processes(task), fresh) / fresh
        task.metric(Metric("teacher/seconds_per_scene", mean, n=fresh, unit="s"))
    task.metric(Metric("scenes/skipped", len(skipped), n=done, unit="scenes"))


@dataclass(frozen=True)
class Extracting:
    """What a process that extracts features is given."""

    params: ExtractParams
    scenes: Path
    """The scenes artifact."""
    teacher: Path | None
    """The artifact of a teacher that the grid trained."""
    gpus: float
    out: Path

    def __call__(self) -> Work[SceneOutcome]:
        """Build the teacher."""
        params, config = self.params, self.params.teacher.open(TeacherSettings)
        if self.teacher is not None:
            config = config.model_copy(update={"checkpoint": str(self.teacher)})
        teacher: Teacher = config.at_grid(params.grid).build(str(device_for(self.gpus)))
        if params.gives == "depth":
            teacher = depth_of(teacher)
        source = open_source(params, self.scenes)
        return lambda scene_ids: extract_each(
            teacher,
            source,
            scene_ids,
            self.out,
            params.grid,
            area=params.area,
            num_frames=params.num_frames,
            coverage_voxel_m=params.coverage_voxel_m,
            max_cut=config.max_cut,
            skip_bad_scenes=params.on_bad_scene == "skip",
        )


def open_source(params: ExtractParams, written: Path) -> SceneSource:
    """The scenes with the frames that the teacher is to see."""
    scenes = params.scenes.open(SceneSettings)
    return scenes.open(written) if params.frames == "student" else scenes.open_all_images(written)


def _publish(task: StepTask, scene_ids: Sequence[str]) -> None:
    """The features of all scenes, if they are as they were written, and their statistics."""
    for scene_id in scene_ids:
        path = feature_path(task.scratch, scene_id)
        require_sound(path)
        os.link(path, task.out / path.name)
    os.link(task.scratch / STATISTICS, task.out / STATISTICS)
