"""What can be chosen about prepared scenes. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from threedrs_platform.config import LATER, Config

Level = Literal["token", "pixel"]
"""What corresponds across views. pixel: every pixel with valid depth, with the feature of its
token, as the paper says. token: a token lies in the voxel of its mean coordinate, as released."""

Arithmetic = Literal["float32", "bfloat16", "float16"]


class ChecksConfig(Config):
    """What scenes must not contradict: poses, cameras, depth, boxes. Limits leave room for sensors.

    Rooms of the micro world and the frames of 7-Scenes lie well inside; `cross_checks.py` says
    what each number is.
    """

    mode: Literal["refuse", "tell", "skip"] = "refuse"
    """What a contradiction does: make the scene a bad one, only be told, or not be looked for."""
    max_rotation_error: float = Field(default=0.02, gt=0)
    """Of any pose: largest entry of R R^T - 1. A scale of 1.05 gives 0.1."""
    max_centre_offset: float = Field(default=0.2, gt=0)
    """Of the principal point of either camera from the middle, in half widths or heights."""
    max_view_mismatch: float = Field(default=0.04, gt=0)
    """How far apart the edges of what depth and colour show may lie, as a share of the frame. A
    token's coordinates come from depth, its pixels from colour; half a token of 14 is 0.036."""
    min_agreement: float = Field(default=0.7, ge=0, le=1)
    """Share of pixels whose depth, seen from another frame that they cannot be hidden from, is
    within 5 % of the depth there."""
    max_gain: float = Field(default=0.1, gt=0)
    """How much more views may agree under another reading of poses or depth than as they are."""
    usual_view_error: float = Field(default=0.02, gt=0)
    """Median relative error of depth between views; beyond it a warning. Sensors give 0.005."""
    min_boxes_hit: float = Field(default=0.5, ge=0, le=1)
    """Share of a scene's boxes, or proposals, that hold any pixel."""
    usual_extent_m: tuple[float, float] = (0.5, 40.0)
    """Longest side of a room; outside a warning, outside by a factor of 5 a contradiction."""


class PrepareConfig(Config):
    """How scenes are reduced to what one student reads."""

    image_size: int = Field(default=64, ge=8)
    """Side of the student's input image."""
    resize: Literal["squash", "crop"] = "squash"
    """How a frame becomes square: distorted whole, or cut to its middle. A 4:3 frame loses a
    quarter of its width to the latter, while a teacher may still see all of it."""
    covered: int | None = Field(default=None, ge=1)
    """Side of what the student's vision tower sees of that image, from the top left corner: patches
    of 14 pixels cover 378 of 384, and the rest belongs to no token. None is all of it."""
    invalid_depth: Literal["masked", "camera_centre"] = "masked"
    """What a pixel without depth counts as: as nothing; or, as released, as a point at the camera,
    which enters the mean of its cell and lies in boxes round the camera."""
    arithmetic: Arithmetic = "float32"
    """In what number format coordinates are averaged, binned and tested against boxes, and boxes
    are kept. The released trainer casts all to bfloat16 first: beyond 1 m from the origin they then
    step by 0.125 m, coarser than a voxel."""
    evaluation_arithmetic: Arithmetic | None = None
    """That of scenes outside the training split; None is the same. The released evaluation casts
    to float16, and prints the boxes that it chooses in it."""
    grid: int = Field(default=4, ge=1)
    """Token rows and columns per frame, P."""
    patch_grid: int | None = Field(default=None, ge=1)
    """Rows and columns of vision patches per frame before pooling, R: what students with
    object_membership "released" pool object features from. None keeps no weights of patches."""
    voxel_m: float = Field(default=0.1, gt=0)
    """Edge of the voxels that tell which pixels see the same place, in metres."""
    num_frames: int = Field(default=8, ge=1)
    """Frames of a scene that the student sees."""
    sampling: Annotated[Literal["uniform", "coverage"], LATER] = "uniform"
    """Which of the frames that the scenes come with: evenly spread ones; or those that together see
    most voxels of voxel_m, one after the other. For the latter set scenes.num_frames, which says
    how many there are to choose from, above num_frames."""
    birds_eye: Annotated[int | None, Field(ge=8), LATER] = None
    """Side in pixels of a picture of the room from above, without its ceiling, that is kept with
    it: what reconstruction.birds_eye asks for, 8 pixels a cell. None keeps none."""
    checks: ChecksConfig = ChecksConfig()
    """Limits of the cross-checks."""
    on_bad_scene: Literal["refuse", "skip"] = "refuse"
    """What an unusable scene does: stop the step, or be left out, counted and shown."""

    @model_validator(mode="after")
    def _covered_is_inside(self) -> Self:
        if self.seen > self.image_size:
            raise ValueError(f"covered {self.covered} is more than image_size {self.image_size}")
        return self

    @property
    def seen(self) -> int:
        """Side of what is covered, in pixels of the image."""
        return self.image_size if self.covered is None else self.covered

    @property
    def coverage_voxel_m(self) -> float | None:
        """Edge of the voxels by which frames are chosen; None if they are evenly spread."""
        return self.voxel_m if self.sampling == "coverage" else None

    def of_evaluation(self) -> PrepareConfig:
        """The same for scenes outside the training split, where nobody tells rooms from above."""
        arithmetic = self.evaluation_arithmetic or self.arithmetic
        return self.model_copy(update={"arithmetic": arithmetic, "birds_eye": None})
