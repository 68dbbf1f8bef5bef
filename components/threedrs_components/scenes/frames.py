"""Frames on disk and in memory: reading, choosing and resizing images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from threedrs_components.scenes.unreadable import machine_fault
from threedrs_components.scenes.zipped_arrays import only_array
from threedrs_platform.records import Float32, Scene, UInt8

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

MILLIMETRES = 1000.0
NO_READING = 65535
"""Depth value some sensors store for "no reading"; 0 means the same."""
DEPTH_ENDINGS = (".png", ".npy", ".npz", ".tiff", ".tif", ".exr")
"""Endings of depth files, the usual one first; the last is recognised in order to be refused."""
MOST_REASONS = 3
"""Reasons for dropped frames that a message lists."""


class UnreadableImage(ValueError):
    """An image file that cannot be decoded in full, or is not of the expected kind."""


def read_color(path: Path) -> UInt8:
    """Read a colour image as [H, W, 3] uint8 RGB."""
    return np.asarray(_decoded(path).convert("RGB"), dtype=np.uint8)


def read_depth(path: Path, units_per_metre: float = MILLIMETRES) -> Float32:
    """Read a depth file as [h, w] float32 metres; no reading becomes 0.

    Whole numbers (16-bit PNG, TIFF, .npy, .npz) are divided by `units_per_metre`; real numbers
    (TIFF, .npy, .npz) are metres.
    """
    values = _depth_values(path)
    if values.ndim != 2 or values.dtype.kind not in "uif" or values.dtype == np.uint8:
        kind = f"{values.ndim} dimensions of {values.dtype}"
        raise UnreadableImage(f"depth must be a one-channel 16-bit or float image, this is {kind}")
    if values.dtype.kind == "f":
        return np.where(np.isfinite(values) & (values > 0), values, 0).astype(np.float32)
    read = np.where(values == NO_READING, 0, values)
    return read.astype(np.float32) / np.float32(units_per_metre)


def _depth_values(path: Path) -> NDArray[Any]:
    if path.suffix == ".exr":
        raise UnreadableImage(
            "EXR is not read; store metres as float .npy or .tiff, or as 16-bit .png"
        )
    if path.suffix not in (".npy", ".npz"):
        return np.asarray(_decoded(path))
    with _damage(path, "array cannot be read"):
        # A map is as large as the file at most, whatever the header says.
        if path.suffix == ".npy":
            return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        return only_array(path)


def read_gray(path: Path) -> UInt8:
    """Read an 8-bit one-channel image as [H, W] uint8."""
    values = np.asarray(_decoded(path))
    if values.ndim != 2 or values.dtype != np.uint8:
        raise UnreadableImage("expected a one-channel 8-bit image")
    return values


def depth_to_millimetres(depth: Float32) -> NDArray[np.uint16]:
    """Round metres to the uint16 millimetres of the file format; 0 stays invalid."""
    return np.round(depth * MILLIMETRES).clip(0, NO_READING - 1).astype(np.uint16)


def uniform_choice(available: int, wanted: int) -> NDArray[np.int64]:
    """Indices of `wanted` frames, evenly spread with both ends; repeats if too few exist."""
    return np.linspace(0, available - 1, wanted, dtype=np.int64)


RIGID = 0.02
"""Most that a pose may be off: poses rounded to three digits pass, a scale of 1.02 does not."""


def rotation_error(camera_to_world: Float32) -> NDArray[np.float64]:
    """How far poses [F, 4, 4] are from rigid: largest entry of R R^T - 1 each, infinite if
    mirrored. A scale of 1 + e shows as 2 e."""
    rotation = np.asarray(camera_to_world, dtype=np.float64)[:, :3, :3]
    error = np.abs(rotation @ np.swapaxes(rotation, 1, 2) - np.eye(3)).max(axis=(1, 2))
    return np.where(np.linalg.det(rotation) > 0, error, np.inf)


def drops_told(dropped: Mapping[str, str]) -> str:
    """Dropped frames in words: how many for which reason, and the first of each."""
    reasons = Counter(dropped.values()).most_common(MOST_REASONS)
    firsts = {reason: name for name, reason in reversed([*dropped.items()])}
    told = [f"{count} x {reason} (first {firsts[reason]})" for reason, count in reasons]
    more = len(dropped) - sum(count for _, count in reasons)
    return "; ".join([*told, *([f"{more} x others"] if more else [])])


def kept_frames(scene: Scene, kept: Sequence[int] | NDArray[np.int64]) -> Scene:
    """A scene of some of its frames, by index; a frame may be repeated."""
    return replace(
        scene,
        frame_names=tuple(scene.frame_names[index] for index in kept),
        images=scene.images[kept],
        depth=scene.depth[kept],
        camera_to_world=scene.camera_to_world[kept],
    )


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
    with _damage(path, "image cannot be decoded"), Image.open(path) as image:
        image.load()
        return image


@contextmanager
def _damage(path: Path, what: str) -> Iterator[None]:
    """Damaged files raise a dozen kinds, of Pillow, numpy, zipfile and zlib."""
    try:
        yield
    except Exception as error:
        if (fault := machine_fault(error, path)) is not None:
            raise fault from error
        raise UnreadableImage(f"{what} ({error})") from error
