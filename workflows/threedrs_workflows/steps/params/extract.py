"""Parameters of step "extract"."""

from __future__ import annotations

from typing import Annotated, Literal

from threedrs_platform.config import LATER
from threedrs_platform.config.kinds import Chosen
from threedrs_workflows.steps.params import StepParams


class ExtractParams(StepParams):
    """Whose features of which frames are stored."""

    teacher: Chosen
    scenes: Chosen
    """What opens the scenes artifact."""
    weights: str | None = None
    """Digest of the teacher's checkpoint, where one is given."""
    grid: int
    area: float = 1.0
    """Share of a frame's height and width that the grid covers."""
    num_frames: int
    coverage_voxel_m: float | None = None
    """Edge of the voxels by which these are chosen, as the student's; None: evenly spread."""
    splits: tuple[str, ...]
    statistics_split: str
    """Mean and deviation of features are those of this split."""
    on_bad_scene: Literal["refuse", "skip"]
    frames: Literal["student", "all_images"]
    scene_ids: tuple[str, ...] | None = None
    """The scenes of these splits that annotations name; None is all."""
    gives: Annotated[Literal["features", "depth"], LATER] = "features"
    """What is stored of the teacher: features, or how far it finds things and how surely."""

    def concerns(self, scene_id: str) -> bool:
        """Whether features of a scene are wanted."""
        return self.scene_ids is None or scene_id in self.scene_ids
