"""A shipped grid on tiny files of the real formats, on GPUs that Ray only pretends to have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from threedrs_platform.database import schema
from threedrs_platform.fake_gpus import FAKE_GPUS
from threedrs_platform.workspace import find_workspace

TABLE4 = Path(__file__).resolve().parents[2] / "grids/table4.yaml"
TEACHERS = ("siglip2", "mae", "dinov2", "flare", "vggt")
"""What table 4 distils."""
SMALL = {
    "scenes.num_frames": 2,
    "prepare.num_frames": 2,
    "training.steps": 2,
    "probe.folds": 2,
    "benchmarks.max_new_tokens": 2,
}
"""Sizes are made small; how training is executed stays as the preset says."""
SQUARE_FRAMES = {"teachers.flare.framing": "squash"}
"""For grids with FLARE, whose own framing cuts a quarter of the tiny worlds' frames."""


def environment(data: Path, gpus: int) -> dict[str, str]:
    """Variables under which a grid runs on these files and so many pretended GPUs."""
    given = {"DATA": str(data), "GPUS": str(gpus), FAKE_GPUS: str(gpus)}
    return {**given, "THREEDRS_TRACKING": "off"}


def arguments(workspace: Path, *more: str, grid: Path = TABLE4) -> list[str]:
    """What to tell `workflows`."""
    settings = SMALL | (SQUARE_FRAMES if grid == TABLE4 else {})
    sets = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    return ["submit", str(grid), "--workspace", str(workspace), "--ray", "local", *sets, *more]


@dataclass(frozen=True)
class Attempted:
    """One attempt of a step."""

    kind: str
    label: str
    state: str
    started_at: float
    seconds: float
    gpu_s: float
    message: str


def attempts(workspace: Path) -> Sequence[Attempted]:
    """All attempts, in the order in which they began."""
    rows, steps = schema.attempts, schema.steps
    asked = select(steps.c.kind, steps.c.label, rows).join(steps, steps.c.key == rows.c.step_key)
    with find_workspace(str(workspace)) as opened, opened.database.read() as connection:
        found = connection.execute(asked.order_by(rows.c.started_at)).all()
    return [
        Attempted(
            each.kind, each.label, each.state, each.started_at,
            each.seconds or 0.0, each.gpu_s or 0.0, each.message or "",
        )
        for each in found
    ]  # fmt: skip
