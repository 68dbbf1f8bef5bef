"""Frames on disk and in memory: reading, choosing and resizing images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from threedrs_platform.records import Float32, UInt8

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

MILLIMETRES = 1000.0
NO_READING = 65535
"""Depth value some sensors store for "no reading"; 0 means the same."""


class UnreadableImage(ValueError):
    """An image file that cannot be decoded in full, or is not of the expected kind."""


def read_color(path: Path) -> UInt8:
    """Read a colour image as [H, W, 3] uint8 RGB."""
    return np.asarray(_decoded(path).convert("RGB"), dtype=np.uint8)


def read_depth(path: Path) -> Float32:
    """Read a 16-bit millimetre PNG as [h, w] float32 metres; no reading becomes 0."""
    image = _decoded(path)
    values = np.asarray(image)
    if values.ndim != 2 or values.dtype == np.uint8:
        raise UnreadableImage(f"depth must be a one-channel 16-bit image, this is {image.mode}")
    return np.where(values == NO_READING, 0, values).astype(np.float32) / np.float32(MILLIMETRES)


def read_gray(path: Path) -> UInt8:
    """Read an 8-bit one-channel image as [H, W] uint8."""
    values = np.asarray(_decoded(path))
    if values.ndim != 2 or values.dtype != np.uint8:
        raise UnreadableImage("expected a one-channel 8-bit image")
    return values


def write_png(path: Path, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Write pixels as PNG, lightly compressed: speed matters more than size."""
    Image.fromarray(pixels).save(path, compress_level=1)


def depth_to_millimetres(depth: Float32) -> NDArray[np.uint16]:
    """Round metres to the uint16 millimetres of the file format; 0 stays invalid."""
    return np.round(depth * MILLIMETRES).clip(0, NO_READING - 1).astype(np.uint16)


def uniform_choice(available: int, wanted: int) -> NDArray[np.int64]:
    """Indices of `wanted` frames, evenly spread with both ends; repeats if too few exist."""
    return np.linspace(0, available - 1, wanted, dtype=np.int64)


def centre_square(height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of the largest square in the middle of a frame."""
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return slice(top, top + side), slice(left, left + side)


def resize_images(images: UInt8, height: int, width: int) -> UInt8:
    """Squash [F, H, W, 3] to [F, height, width, 3] with Pillow's bicubic filter."""
    if images.shape[1:3] == (height, width):
        return images
    frames = [
        np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
        for image in images
    ]
    return np.stack(frames)


def frame_tensor(images: UInt8) -> Tensor:
    """[F, H, W, 3] uint8 to [F, 3, H, W] float32 in [0, 1]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255.0


def _decoded(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise UnreadableImage(f"image cannot be decoded ({error})") from error
