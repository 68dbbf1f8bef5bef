"""Step "scenes": write the micro world, or point at scenes that are already on disk."""

from __future__ import annotations

from pydantic import TypeAdapter

from threedrs_components.scenes import MicroWorldConfig, ScenesConfig
from threedrs_components.scenes.source import write_pointer
from threedrs_platform.records import Metric
from threedrs_platform.steps import StepTask


def run(task: StepTask) -> None:
    """Params: scenes, role ("student" or "teacher"). Writes a world folder or a pointer to one."""
    config = TypeAdapter[ScenesConfig](ScenesConfig).validate_python(task.params["scenes"])
    if not isinstance(config, MicroWorldConfig):
        write_pointer(config, task.out)
        return
    from threedrs_components.scenes.micro.write import write_world

    summary = write_world(config, task.out, task.params["role"], task.progress)
    for name, value in sorted(summary.items()):
        if name.startswith("content_free"):
            task.metric(Metric(f"world/{name}", value, n=summary["scenes"], unit="R2", chance=0.0))
