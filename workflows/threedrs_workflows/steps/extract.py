"""Step "extract": teacher features of every scene that training or a probe reads, once for all."""

from __future__ import annotations

import json
import os
from pathlib import Path

from threedrs_components.devices import device_for
from threedrs_components.scenes.settings import SceneSettings
from threedrs_components.teachers.extraction import extract_scenes
from threedrs_components.teachers.settings import TeacherSettings
from threedrs_platform.records import Metric
from threedrs_platform.steps import StepTask
from threedrs_platform.store.features import write_statistics
from threedrs_workflows.steps.params.extract import ExtractParams


def run(task: StepTask) -> None:
    """Inputs: scenes, and teacher where the grid trains one.

    Each scene is committed to the scratch folder on its own, so a killed attempt loses one scene.
    """
    params = ExtractParams.of(task)
    scenes, written = params.scenes.open(SceneSettings), task.inputs["scenes"]
    config = params.teacher.open(TeacherSettings)
    if "teacher" in task.inputs:
        config = config.model_copy(update={"checkpoint": str(task.inputs["teacher"])})
    teacher = config.at_grid(params.grid).build(str(device_for(task.settings.get("gpus", 0))))
    own = params.frames == "student"
    source = scenes.open(written) if own else scenes.open_all_images(written)
    splits = {split: source.scenes(split) for split in params.splits}
    extraction = extract_scenes(
        teacher,
        source,
        sorted({scene_id for scene_ids in splits.values() for scene_id in scene_ids}),
        task.scratch,
        params.grid,
        area=params.area,
        num_frames=params.num_frames,
        resize=params.resize,
        max_cut=config.max_cut,
        skip_bad_scenes=params.on_bad_scene == "skip",
        progress=task.progress,
    )
    for scene_id, reason in extraction.skipped.items():
        task.warn(f"skipped scene {scene_id}: {reason}")
    if extraction.cut:
        most = max(extraction.cut, key=extraction.cut.__getitem__)
        task.warn(
            f"{len(extraction.cut)} scenes: the teacher's framing cuts some of what the student "
            f"sees, most of scene {most}: {extraction.cut[most]:.0%} (framing: squash cuts nothing)"
        )
    statistics = splits[params.statistics_split]
    write_statistics(task.scratch, [each for each in statistics if each not in extraction.skipped])
    _publish(task.scratch, task.out)
    (task.out / "bad_scenes.json").write_text(json.dumps(extraction.skipped, sort_keys=True))
    done = len(extraction.written) + len(extraction.kept)
    task.metric(Metric("scenes/extracted", done, n=done, unit="scenes"))
    task.metric(Metric("scenes/skipped", len(extraction.skipped), n=done, unit="scenes"))


def _publish(scratch: Path, out: Path) -> None:
    """Everything finished; what a killed attempt left half written has a name with a dot."""
    for path in sorted(scratch.iterdir()):
        if not path.name.startswith("."):
            os.link(path, out / path.name)
