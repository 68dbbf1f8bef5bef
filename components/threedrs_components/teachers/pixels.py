"""What teachers do to pixels before they look at them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from threedrs_components.teachers.frame_shapes import rows_in_proportion
from threedrs_platform.errors import DataError

if TYPE_CHECKING:
    from threedrs_components.teachers.settings import Framing

PIXEL_MEAN = (0.485, 0.456, 0.406)
PIXEL_STD = (0.229, 0.224, 0.225)
"""Of the colours of ImageNet, by which most models want their pixels normalised."""


@dataclass(frozen=True)
class FrameSize:
    """The size in pixels that a teacher was trained at, and how frames are brought to it."""

    height: int
    width: int
    patch: int
    framing: Framing

    def __call__(self, images: Tensor) -> Tensor:
        """[F, 3, H, W] in [0, 1] -> [F, 3, h, w], for "squash" and "crop" of exactly this size."""
        if self.framing == "squash":
            return resized(images, self.height, self.width)
        return _centre(resized(images, *self._scaled(*images.shape[-2:])), self.height, self.width)

    def seen(self, height: int, width: int) -> tuple[float, float]:
        """Shares of a frame's height and width, in its middle, that are left of it."""
        if self.framing == "squash":
            return 1.0, 1.0
        scaled_height, scaled_width = self._scaled(height, width)
        return min(1.0, self.height / scaled_height), min(1.0, self.width / scaled_width)

    def _scaled(self, height: int, width: int) -> tuple[int, int]:
        if self.framing == "aspect":
            rows = rows_in_proportion((height, width), self.width, self.patch)
            return rows * self.patch, self.width
        scale = max(self.height / height, self.width / width)
        return max(self.height, round(height * scale)), max(self.width, round(width * scale))

    def __str__(self) -> str:
        if self.framing == "aspect":
            return (
                f"width {self.width}, height in proportion to a multiple of {self.patch}, "
                f"centre-cropped above {self.height}, bicubic"
            )
        how = {"squash": "squashed", "crop": "resized and centre-cropped"}[self.framing]
        return f"{how} to {self.width}x{self.height}, bicubic"


def resized(
    images: Tensor, height: int, width: int, kernel: Literal["bicubic", "lanczos"] = "bicubic"
) -> Tensor:
    """Resize [F, 3, H, W] in [0, 1] as Pillow's filter of that name does, through 8-bit pixels."""
    if images.shape[-2:] == (height, width):
        return images
    bytes_ = (images.cpu() * 255).round().to(torch.uint8)
    small = F.interpolate(bytes_, (height, width), mode=kernel, antialias=True)
    return (small.float() / 255).to(images.device)


def normalised(
    images: Tensor,
    mean: tuple[float, float, float] = PIXEL_MEAN,
    std: tuple[float, float, float] = PIXEL_STD,
) -> Tensor:
    """Subtract a mean per colour (ImageNet's), divide by a deviation: [..., 3, H, W]."""
    centre, spread = (images.new_tensor(values).view(3, 1, 1) for values in (mean, std))
    return (images - centre) / spread


def checked_images(images: Tensor, *leading: str) -> Tensor:
    """Images as float32, if they are what every teacher expects.

    Args:
        images: [..., 3, H, W] in [0, 1].
        leading: what the dimensions before the colours count.

    Raises:
        DataError: says what is wrong with them, and what to do.
    """
    if not isinstance(images, Tensor):
        raise DataError(
            f"images are a {type(images).__name__}, not a torch tensor; torch.as_tensor makes one"
        )
    shape = f"[{', '.join([*leading, '3', 'H', 'W'])}]"
    if images.dim() != len(leading) + 3 or images.shape[-3] != 3 or not images.numel():
        raise DataError(
            f"images of shape {list(images.shape)}; expected {shape}: colours before rows and "
            "columns, and at least one image"
        )
    if not images.is_floating_point():
        raise DataError(
            f"images of {_kind(images)}; expected real numbers from 0 to 1: bytes are "
            "images.float() / 255"
        )
    images = images.float()
    least, most = (float(each) for each in images.detach().aminmax())
    if not (least >= 0 and most <= 1):
        found = f"from {least:g} to {most:g}" if least <= most else "that are not numbers (NaN)"
        raise DataError(
            f"images with values {found}; expected 0 to 1, neither bytes nor normalised: teachers "
            "do that themselves"
        )
    return images


def in_patches(images: Tensor, patch: int) -> Tensor:
    """Frames of scenes [B, S, 3, H, W] as float32, if they can be cut into whole patches.

    Raises:
        DataError: as `checked_images`, or sides that are no multiples of the patch.
    """
    images = checked_images(images, "scenes", "frames")
    height, width = images.shape[-2:]
    if height % patch or width % patch:
        fitting = " x ".join(str(max(1, side // patch) * patch) for side in (height, width))
        raise DataError(
            f"images of {height} x {width} pixels (height x width); expected multiples of "
            f"{patch}, the model's patch size: resize them to {fitting}, or ask for `features`, "
            "which takes any size"
        )
    return images


def _kind(images: Tensor) -> str:
    return str(images.dtype).removeprefix("torch.")


def _centre(images: Tensor, height: int, width: int) -> Tensor:
    """The middle of what is larger than this; what is smaller stays."""
    top, left = (
        max(0, (have - want) // 2)
        for have, want in zip(images.shape[-2:], (height, width), strict=True)
    )
    return images[..., top : top + height, left : left + width]
