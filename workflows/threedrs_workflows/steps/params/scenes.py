"""Parameters of step "scenes"."""

from __future__ import annotations

from threedrs_components.scenes.settings import Role
from threedrs_platform.config.kinds import Chosen
from threedrs_workflows.steps.params import StepParams


class ScenesParams(StepParams):
    """Which scenes to write or to stand for."""

    scenes: Chosen
    role: Role
    content: dict[str, str] = {}  # noqa: RUF012
    """Digest of every file and folder outside that the scenes are read from, by setting."""
