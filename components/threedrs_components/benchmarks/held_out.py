"""Annotated training scenes that are kept out of training, to choose settings by.

Whoever chooses settings by the evaluated split has fitted them to it. These scenes are asked as
an evaluation would ask them; their candidates are their own boxes where no proposals exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from threedrs_components.scenes.splits import scenes_of
from threedrs_platform.config import Config
from threedrs_platform.errors import DataError


class HeldOut(Config):
    """Which annotated training scenes are taken out of training, and evaluated."""

    share: float
    split: str
    """The split that training reads."""

    def scenes(self, written: Path) -> frozenset[str]:
        """The scenes, given the scenes artifact."""
        return held_out_scenes(scenes_of(written, self.split), self.share)


def held_out_scenes(scene_ids: Sequence[str], share: float) -> frozenset[str]:
    """The last scenes by name: scans of one room, whose names follow each other, stay together.

    Args:
        scene_ids: scenes with annotations for training.
        share: of them to hold out; at least one is held out and one is left.

    Raises:
        DataError: fewer than two scenes.
    """
    ordered = sorted(scene_ids)
    if len(ordered) < 2:
        raise DataError(f"{len(ordered)} annotated training scenes: none can be held out")
    count = min(len(ordered) - 1, max(1, round(share * len(ordered))))
    return frozenset(ordered[-count:])
