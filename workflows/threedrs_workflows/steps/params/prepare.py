"""Parameters of step "prepare"."""

from __future__ import annotations

from threedrs_components.models.told.prepare import PreparedAs
from threedrs_workflows.steps.params import StepParams


class PrepareParams(PreparedAs, StepParams):
    """How scenes are reduced to what a student reads, and which."""

    trained_split: str
    """Scenes of every other split are prepared for evaluation."""
    scene_ids: tuple[str, ...] | None = None
    """The scenes that annotations name; None is all."""

    def concerns(self, scene_id: str) -> bool:
        """Whether a scene is to be prepared."""
        return self.scene_ids is None or scene_id in self.scene_ids
