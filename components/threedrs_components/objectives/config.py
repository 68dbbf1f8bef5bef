"""What can be chosen about the losses. Imports no torch: a grid validates in milliseconds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from threedrs_platform.config import Config

Level = Literal["token", "pixel"]


class AlignmentConfig(Config):
    """Distil teacher features into the student's hidden states at its visual tokens."""

    loss: Literal["cosine", "euclidean"] = "cosine"
    """cosine: mean(1 - cos), the paper's equation. euclidean: mean squared distance of unit
    vectors = twice that, the released code."""
    weight: float = Field(default=1.0, ge=0)
    """0 switches alignment off: no head is built and no teacher is read."""
    layers: tuple[int, ...] = Field(default=(-1,), min_length=1)
    """Hidden states to align: -1 is the last, after the final norm; -k the k-th last. Each has its
    own head, and the loss is their mean."""
    projector_width: int | None = Field(default=None, gt=0)
    """Hidden width of the projection; None is twice the student's width, as released."""
    initialisation: Literal["normal", "fan_in"] = "normal"
    """normal: deviation 0.02 whatever the width, as released. fan_in: 1 / sqrt(inputs), which small
    widths need."""
    standardise: bool = False
    """Standardise every teacher dimension with the statistics of the training scenes."""


class CorrespondenceConfig(Config):
    """Pull features of one voxel together across views, push those of different voxels apart."""

    weight: float = Field(default=0.0, ge=0)
    """Weight of the whole loss; 0 switches it off."""
    negative_weight: float = Field(default=1.0, ge=0)
    """Weight of the negative pairs relative to the positive ones; the paper's equation has 1."""
    level: Level = "pixel"
    """pixel: every pixel with valid depth counts, with the feature of its token, as the paper says.
    token: a token lies in the voxel of its mean coordinate, as released; few tokens then meet."""
    voxel_m: float = Field(default=0.1, gt=0)
    layer: int = -1


class GroundingConfig(Config):
    """Contrastive choice among candidate objects."""

    weight: float = Field(default=1.0, ge=0)
    temperature: float = Field(default=0.07, gt=0)


class TextConfig(Config):
    """Cross-entropy of the answer tokens."""

    weight: float = Field(default=1.0, ge=0)
