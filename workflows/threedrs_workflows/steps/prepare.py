"""Step "prepare": reduce every scene to what the student reads, once for all cells."""

from __future__ import annotations

import json
import os
from pathlib import Path

from threedrs_components.scenes.boxes import read_box_lists
from threedrs_components.scenes.preparation_report import REPORT, preparation_report
from threedrs_components.scenes.prepared import prepare_scene, write_prepared
from threedrs_components.scenes.settings import PROPOSALS, SceneSettings
from threedrs_platform.errors import SceneError
from threedrs_platform.records import Float32, Metric
from threedrs_platform.steps import StepTask
from threedrs_workflows.steps.params.prepare import PrepareParams

MOST_TOLD = 50
"""Warnings about scenes that are shown; all stand in the report."""


def run(task: StepTask) -> None:
    """Inputs: scenes. Writes one file per scene, preparation.json and bad_scenes.json.

    Finished scenes wait in the scratch folder, so that a killed attempt loses none.
    """
    params = PrepareParams.of(task)
    config = params.prepare
    source = params.scenes.open(SceneSettings).open(task.inputs["scenes"])
    proposals = read_proposals(task.inputs["scenes"])
    scene_ids = source.scenes("all")
    trained, evaluation = frozenset(source.scenes(params.trained_split)), config.of_evaluation()
    bad: dict[str, str] = {}
    for done, scene_id in enumerate(scene_ids):
        task.progress(done, len(scene_ids), scene_id)
        if (task.scratch / f"{scene_id}.safetensors").is_file():
            continue
        try:
            scene = source.load(scene_id)
            own = config if scene_id in trained else evaluation
            write_prepared(prepare_scene(scene, proposals.get(scene_id), own), task.scratch)
        except SceneError as error:
            if config.on_bad_scene == "refuse":
                raise
            bad[scene_id] = str(error)
            task.warn(f"skipped {error}")
    for path in sorted(task.scratch.glob("*.safetensors")):
        os.link(path, task.out / path.name)
    report = preparation_report(task.out)
    for warning in report["warnings"][:MOST_TOLD]:
        task.warn(warning)
    if len(report["warnings"]) > MOST_TOLD:
        task.warn(f"{len(report['warnings']) - MOST_TOLD} warnings more stand in {REPORT}")
    (task.out / REPORT).write_text(json.dumps(report, indent=1))
    (task.out / "bad_scenes.json").write_text(json.dumps(bad, indent=1, sort_keys=True))
    task.metric(Metric("scenes/skipped", len(bad), n=len(scene_ids), unit="scenes"))


def read_proposals(world: Path) -> dict[str, Float32]:
    """Candidate boxes of every scene that has a proposal file, over all splits."""
    return {
        scene: boxes
        for path in sorted((world / PROPOSALS).glob("*.json"))
        for scene, boxes in read_box_lists(path).items()
    }
