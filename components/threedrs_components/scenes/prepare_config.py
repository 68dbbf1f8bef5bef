"""What can be chosen about prepared scenes. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from threedrs_platform.config import Config


class PrepareConfig(Config):
    """How scenes are reduced to what one student reads."""

    image_size: int = Field(default=64, ge=8)
    """Side of the student's input image; frames are squashed to it, never cropped."""
    grid: int = Field(default=4, ge=1)
    """Token rows and columns per frame, P."""
    patch_grid: int | None = Field(default=None, ge=1)
    """Rows and columns of vision patches per frame before pooling, R: what students with
    object_membership "released" pool object features from. None keeps no weights of patches."""
    voxel_m: float = Field(default=0.1, gt=0)
    num_frames: int = Field(default=8, ge=1)
    on_bad_scene: Literal["refuse", "skip"] = "refuse"
    """What an unusable scene does: stop the step, or be left out, counted and shown."""
