"""What frames look like, in a few bytes: tells features of these images from those of others."""

from __future__ import annotations

import numpy as np

from threedrs_platform.errors import DataError
from threedrs_platform.records import FeatureMap, UInt8

CELLS = 4
"""Rows and columns of mean colours per frame."""
SAMPLES = 16
"""Rows and columns of pixels that a mean is over."""
ALIKE = 6.0
"""Mean difference of colours, of 255: compressing or resizing gives 1 or 2, another room 30."""


def fingerprints(images: UInt8) -> UInt8:
    """[F, H, W, 3] to [F, CELLS * CELLS * 3]: mean colours of the cells of each frame."""
    height, width = images.shape[1:3]
    side = CELLS * SAMPLES
    rows, columns = (((np.arange(side) + 0.5) * n / side).astype(int) for n in (height, width))
    sampled = images[:, rows[:, None], columns].astype(np.float32)
    means = sampled.reshape(-1, CELLS, SAMPLES, CELLS, SAMPLES, 3).mean(axis=(2, 4))
    rounded: UInt8 = np.rint(means).astype(np.uint8).reshape(len(images), -1)
    return rounded


def check_images(features: FeatureMap, images: UInt8) -> bool:
    """Refuse features that were made from other images than these [F, H, W, 3].

    Returns:
        Whether the features say what their images looked like.

    Raises:
        DataError: they do, and names the first frame that looks otherwise.
    """
    theirs, ours = features.fingerprints, fingerprints(images)
    if theirs is None:
        return False
    if theirs.shape != ours.shape or theirs.dtype != np.uint8:
        raise DataError(
            f"scene {features.scene_id}: fingerprints of its images are {list(ours.shape)} uint8, "
            f"the features have {list(theirs.shape)} {theirs.dtype}"
        )
    differences = np.abs(theirs.astype(np.float32) - ours).mean(axis=1)
    for frame, difference in enumerate(differences):
        if difference > ALIKE:
            raise DataError(
                f"scene {features.scene_id}: frame {frame} looks otherwise than the image that the "
                f"features were made from (colours differ by {difference:.0f} of 255): they are of "
                "another scene of this name, or of other frames"
            )
    return True
