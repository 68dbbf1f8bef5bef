"""Step "scenes": write the micro world, or stand for scenes that are already on disk."""

from __future__ import annotations

import json

from threedrs_components.scenes.settings import SceneSettings
from threedrs_platform.steps import StepTask
from threedrs_workflows.steps.params.scenes import ScenesParams


def run(task: StepTask) -> None:
    """Write a world, or the splits and proposals of one that lies elsewhere.

    Beside the latter lies the digest of what is there: what reads from other data must not look
    like the same work.
    """
    params = ScenesParams.of(task)
    settings = params.scenes.open(SceneSettings)
    for metric in settings.write(task.out, params.role, task.progress):
        task.metric(metric)
    if params.content:
        (task.out / "content.json").write_text(json.dumps(params.content, sort_keys=True))
