"""How frames are brought to Pi3's size: within a number of pixels, whatever their shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from threedrs_components.teachers.frame_shapes import patches_within
from threedrs_components.teachers.pixels import FrameSize, resized

if TYPE_CHECKING:
    from threedrs_components.teachers.settings import Framing


@dataclass(frozen=True)
class PixelLimit(FrameSize):
    """At most so many pixels; "aspect" keeps the frames' shape but for the rounding to patches."""

    pixels: int

    @classmethod
    def of(cls, pixels: int, patch: int, framing: Framing) -> PixelLimit:
        """With the largest square of whole patches for "squash" and "crop"."""
        side = math.isqrt(pixels) // patch * patch
        return cls(side, side, patch, framing, pixels)

    def __call__(self, images: Tensor) -> Tensor:
        """[F, 3, H, W] in [0, 1] -> [F, 3, h, w]."""
        if self.framing != "aspect":
            return super().__call__(images)
        rows, columns = self.patches(*images.shape[-2:])
        return resized(images, rows * self.patch, columns * self.patch, "lanczos")

    def seen(self, height: int, width: int) -> tuple[float, float]:
        """Shares of a frame's height and width that are left of it; "aspect" cuts nothing."""
        return (1.0, 1.0) if self.framing == "aspect" else super().seen(height, width)

    def patches(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of frames of a shape."""
        return patches_within((height, width), self.pixels, self.patch)

    def __str__(self) -> str:
        if self.framing != "aspect":
            return super().__str__()
        return (
            f"scaled to at most {self.pixels} pixels, sides multiples of {self.patch}, Lanczos; "
            "nothing cut"
        )
