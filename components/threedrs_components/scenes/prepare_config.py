"""What can be chosen about prepared scenes. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from threedrs_platform.config import Config

Level = Literal["token", "pixel"]
"""What corresponds across views. pixel: every pixel with valid depth, with the feature of its
token, as the paper says. token: a token lies in the voxel of its mean coordinate, as released."""


class PrepareConfig(Config):
    """How scenes are reduced to what one student reads."""

    image_size: int = Field(default=64, ge=8)
    """Side of the student's input image."""
    resize: Literal["squash", "crop"] = "squash"
    """How a frame becomes square: distorted whole, or cut to its middle. A 4:3 frame loses a
    quarter of its width to the latter, while a teacher may still see all of it."""
    arithmetic: Literal["float32", "bfloat16"] = "float32"
    """In what number format coordinates are averaged, binned and tested against boxes. The released
    trainer casts them to bfloat16 first: beyond 1 m from the origin they then step by 0.125 m,
    coarser than a voxel."""
    grid: int = Field(default=4, ge=1)
    """Token rows and columns per frame, P."""
    patch_grid: int | None = Field(default=None, ge=1)
    """Rows and columns of vision patches per frame before pooling, R: what students with
    object_membership "released" pool object features from. None keeps no weights of patches."""
    voxel_m: float = Field(default=0.1, gt=0)
    num_frames: int = Field(default=8, ge=1)
    on_bad_scene: Literal["refuse", "skip"] = "refuse"
    """What an unusable scene does: stop the step, or be left out, counted and shown."""
