"""Step "extract": teacher features of every scene that training or a probe reads, once for all."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import TypeAdapter

from threedrs_components.devices import device_for
from threedrs_components.scenes.scannet import AllImages
from threedrs_components.scenes.source import open_scenes
from threedrs_components.teachers.extraction import extract_scenes
from threedrs_components.teachers.registry import TeacherConfig
from threedrs_platform.records import Metric
from threedrs_platform.steps import StepTask
from threedrs_platform.store.features import write_statistics


def run(task: StepTask) -> None:
    """Params: teacher, grid, num_frames, frames, splits, statistics_split, on_bad_scene.

    Inputs: scenes, and teacher where the grid trains one.
    Each scene is committed to the scratch folder on its own, so a killed attempt loses one scene.
    """
    source = open_scenes(task.inputs["scenes"])
    config = TypeAdapter[TeacherConfig](TeacherConfig).validate_python(task.params["teacher"])
    if "teacher" in task.inputs:
        config = config.model_copy(update={"checkpoint": str(task.inputs["teacher"])})
    teacher = config.build(str(device_for(task.settings.get("gpus", 0))))
    seen = source if task.params["frames"] == "student" else AllImages(source)
    splits = {split: source.scenes(split) for split in task.params["splits"]}
    extraction = extract_scenes(
        teacher,
        seen,
        sorted({scene_id for scene_ids in splits.values() for scene_id in scene_ids}),
        task.scratch,
        task.params["grid"],
        num_frames=task.params["num_frames"],
        skip_bad_scenes=task.params["on_bad_scene"] == "skip",
        progress=task.progress,
    )
    for scene_id, reason in extraction.skipped.items():
        task.warn(f"skipped scene {scene_id}: {reason}")
    statistics = splits[task.params["statistics_split"]]
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
