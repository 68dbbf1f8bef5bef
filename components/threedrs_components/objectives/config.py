"""What can be chosen about the losses. Imports no torch: a grid validates in milliseconds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from threedrs_components.scenes.prepare_config import Level
from threedrs_platform.config import Config

AlignmentLoss = Literal["cosine", "euclidean", "cosine+euclidean", "gram", "cosine+gram"]
TeacherFrames = Literal["student", "all_images"]
TextMask = Literal["clean", "released"]


class AlignmentConfig(Config):
    """Distil teacher features into the student's hidden states at its visual tokens."""

    loss: AlignmentLoss = "cosine"
    """cosine: mean(1 - cos), the paper's equation. euclidean: mean squared distance of unit
    vectors = twice that, the released code. gram: mean distance of the cosines among a scene's own
    tokens, student's from teacher's; the first release added it to the cosine. "+" adds up."""
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
    frames: TeacherFrames = "student"
    """Frames that the teacher sees: the student's own; or, as in the released extractor, frames
    spread over all images on disk, also those without a pose, which the student never sees. Token
    by token such features belong to other places wherever the two lists differ."""
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
    mask: TextMask = "clean"
    """Which tokens are learned. clean: the answer and its end. released: also the head of the
    reply, and every mark of a turn and every line break of the prompt."""
