"""What a component must be: Protocols of one or two methods. Shapes are the law.

A component is one file: its class, and its frozen config with `kind` and `build()`. The package's
`__init__` holds the union of the configs, which is the registry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from threedrs_platform.records import Scene

if TYPE_CHECKING:
    from torch import Tensor


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


class Teacher(Protocol):
    """A pretrained model that sees frames and yields dense features. Holds no gradient."""

    def features(self, images: Tensor) -> Tensor:
        """Features of one scene's frames.

        Args:
            images: [F, 3, H, W] float32 in [0, 1], any size; the teacher does its own resizing.

        Returns:
            [F, rows, columns, channels] float32, on the teacher's own grid.
        """
        ...


class Objective(Protocol):
    """A pure function of tensors to a scalar and its named parts. Knows no model."""

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, dict[str, float]]:
        """Return the loss and its parts for logging."""
        ...
