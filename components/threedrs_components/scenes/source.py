"""What every source of scenes offers to those who read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from threedrs_platform.records import Scene


class SceneSource(Protocol):
    """Scenes of one data set. Deterministic order; `load` may be called from many processes."""

    def splits(self) -> Sequence[str]:
        """Names of the splits, "all" among them."""
        ...

    def scenes(self, split: str) -> Sequence[str]:
        """Scene ids of a split ("train", "val", ...), sorted."""
        ...

    def load(self, scene_id: str) -> Scene:
        """Read one scene.

        Raises:
            SceneError: a file is missing, truncated or inconsistent, or no depth pixel is valid.
        """
        ...
