"""Step "prepare": reduce scenes to what the student reads, once for all cells."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threedrs_components.scenes.boxes import read_candidates
from threedrs_components.scenes.preparation_report import preparation_report
from threedrs_components.scenes.prepared import prepare_scene, prepared_files, write_prepared
from threedrs_components.scenes.settings import PROPOSALS, SceneSettings
from threedrs_platform.errors import DataError, SceneError
from threedrs_platform.processes import spread
from threedrs_platform.records import Float32, Metric
from threedrs_platform.sealed import keep_sound, require_sound
from threedrs_platform.steps import StepTask
from threedrs_workflows.steps.params.prepare import PrepareParams
from threedrs_workflows.steps.processes import cpu_processes

MOST_TOLD = 50
"""Warnings about scenes that are shown; all stand in the log."""


def run(task: StepTask) -> None:
    """Inputs: scenes. Writes one file per scene, and the ids of bad ones into bad_scenes.json.

    Finished scenes wait in the scratch folder, so that a killed attempt loses none. A process for
    each CPU prepares them.
    """
    params = PrepareParams.of(task)
    source = params.scenes.open(SceneSettings).open(task.inputs["scenes"])
    scene_ids = [each for each in source.scenes("all") if params.concerns(each)]
    if not scene_ids:
        raise DataError("none of the scenes that the annotations name is among the scenes")
    missing = [each for each in scene_ids if not _is_prepared(task, each)]
    done, total = len(scene_ids) - len(missing), len(scene_ids)
    bad: list[str] = []
    prepare = Preparing(params, task.inputs["scenes"], task.scratch)
    task.progress(done, total)
    with closing(spread(prepare, missing, cpu_processes(task))) as prepared:
        for number, (scene_id, error) in enumerate(prepared, done + 1):
            if error is not None:
                if params.prepare.on_bad_scene == "refuse":
                    raise error
                bad.append(scene_id)
                task.warn(f"skipped {error}")
            task.progress(number, total, scene_id)
    usable = sorted({*scene_ids} - {*bad})
    for scene_id in usable:
        path, _ = prepared_files(task.scratch, scene_id)
        require_sound(path)
        os.link(path, task.out / path.name)
    _tell(task, preparation_report(task.scratch, usable))
    (task.out / "bad_scenes.json").write_text(json.dumps(sorted(bad)))
    task.metric(Metric("scenes/skipped", len(bad), n=total, unit="scenes"))


@dataclass(frozen=True)
class Preparing:
    """What a process that prepares scenes is given."""

    params: PrepareParams
    scenes: Path
    """The scenes artifact."""
    out: Path

    def __call__(self) -> Callable[[str], SceneError | None]:
        """Open the scenes; the work on one returns what is wrong with it."""
        source = self.params.scenes.open(SceneSettings).open(self.scenes)
        trained = frozenset(source.scenes(self.params.trained_split))
        config = self.params.prepare
        evaluation, proposals = config.of_evaluation(), read_proposals(self.scenes)

        def prepare(scene_id: str) -> SceneError | None:
            try:
                scene = source.load(scene_id)
                own = config if scene_id in trained else evaluation
                write_prepared(prepare_scene(scene, proposals.get(scene_id), own), self.out)
            except SceneError as error:
                return error
            return None

        return prepare


def _tell(task: StepTask, report: Mapping[str, Any]) -> None:
    """What was found of the scenes, into the log and the database.

    Not into the artifact: another limit or wording would make all that reads it run again.
    """
    print(json.dumps(report))
    warnings = report["warnings"]
    for warning in warnings[:MOST_TOLD]:
        task.warn(warning)
    if len(warnings) > MOST_TOLD:
        task.warn(f"{len(warnings) - MOST_TOLD} warnings more stand in the log of this step")
    for name, found in report["worst"].items():
        for end in ("lowest", "highest"):
            metric = f"scenes/{re.sub('[^a-z]+', '_', name.lower())}/{end}"
            task.metric(Metric(metric, found[end], n=found["scenes"], unit=""))
    for frames, found in report["coverage"].items():
        share = 100 * found["mean"]
        task.metric(Metric(f"scenes/coverage/{frames}", share, n=found["scenes"]))


def read_proposals(world: Path) -> dict[str, Float32]:
    """Candidate boxes of every scene that has a proposal file, over all splits."""
    return read_candidates(*sorted((world / PROPOSALS).glob("*.json")))


def _is_prepared(task: StepTask, scene_id: str) -> bool:
    """Whether an earlier attempt did it, and all of it is as it was written."""
    return all(keep_sound(path, task.warn) for path in prepared_files(task.scratch, scene_id))
