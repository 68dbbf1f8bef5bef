"""Step "scenes": write the micro world, or point at scenes that are already on disk."""

from __future__ import annotations

import json

from pydantic import TypeAdapter

from threedrs_components.scenes.registry import MicroWorldConfig, ScenesConfig
from threedrs_components.scenes.source import write_pointer
from threedrs_platform.records import Metric
from threedrs_platform.steps import StepTask


def run(task: StepTask) -> None:
    """Params: scenes, role ("student" or "teacher"), content. Writes a world or a pointer to one.

    Beside a pointer lies the digest of what it points at: what reads from other data must not
    look like the same work.
    """
    config = TypeAdapter[ScenesConfig](ScenesConfig).validate_python(task.params["scenes"])
    if not isinstance(config, MicroWorldConfig):
        write_pointer(config, task.out)
        (task.out / "content.json").write_text(json.dumps(task.params["content"]))
        return
    from threedrs_components.scenes.micro.write import write_world

    summary = write_world(config, task.out, task.params["role"], task.progress)
    control = summary.get("content_free_control", {})
    for axis in ("east", "north"):
        if f"r2_{axis}" in control:
            n = control["test_objects"]
            task.metric(Metric(f"world/content_free/{axis}", control[f"r2_{axis}"], n, "R2", 0.0))
