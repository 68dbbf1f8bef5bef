"""Parameters of step "prepare"."""

from __future__ import annotations

from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_platform.config.kinds import Chosen
from threedrs_workflows.steps.params import StepParams


class PrepareParams(StepParams):
    """How scenes are reduced to what a student reads."""

    prepare: PrepareConfig
    scenes: Chosen
    """What opens the scenes artifact."""
    trained_split: str
    """Scenes of every other split are prepared for evaluation."""
    scene_ids: tuple[str, ...] | None = None
    """The scenes that annotations name; None is all."""

    def concerns(self, scene_id: str) -> bool:
        """Whether a scene is to be prepared."""
        return self.scene_ids is None or scene_id in self.scene_ids
