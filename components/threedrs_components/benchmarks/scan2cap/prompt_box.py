"""The box that an object to describe is pointed at with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from threedrs_components.benchmarks.annotations import Box
from threedrs_components.metrics.iou import iou_matrix

PROMPT_IOU = 0.5
"""A proposal must overlap an object this much to be its prompt box."""
PROPOSALS_USED = 50
"""Of each scene; the released files hold no more."""


def prompt_box(proposals: Sequence[Box], target: Box) -> Box | None:
    """The proposal that overlaps the object most, if by at least 0.5; first on ties."""
    if not proposals:
        return None
    overlaps = iou_matrix(proposals[:PROPOSALS_USED], [target])[:, 0]
    best = int(np.argmax(overlaps))
    return proposals[best] if overlaps[best] >= PROMPT_IOU else None
