"""Frames, depth and feature colours as PNG."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from threedrs_components.scenes.frames import resize_images
from threedrs_dashboards.viewer.maps import Float32, UInt8

STRIP_PIXELS = 160
"""Largest frame in a strip of all frames."""
NEAR = np.array([253, 231, 160], dtype=np.float32)
FAR = np.array([38, 42, 90], dtype=np.float32)
UNKNOWN = 0
"""Grey of pixels without depth."""


def strip(frames: UInt8, most: int = STRIP_PIXELS) -> bytes:
    """[F, H, W, 3] side by side as one PNG, so that a row of pictures is one request.

    Args:
        frames: of one size.
        most: pixels of a frame's longer side.
    """
    height, width = frames.shape[1:3]
    longest = max(height, width)
    if longest > most:
        scale = most / longest
        frames = resize_images(frames, round(height * scale), round(width * scale))
    return png(np.concatenate(list(frames), axis=1))


def png(image: UInt8) -> bytes:
    """[H, W, 3] as PNG."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, format="PNG")
    return out.getvalue()


def depth_colours(depth: Float32) -> UInt8:
    """[F, h, w] metres as [F, h, w, 3]: near is light, far is dark, unknown is black."""
    near, far = depth_range(depth)
    share = np.clip((depth - near) / max(far - near, 1e-6), 0.0, 1.0)[..., None]
    mixed = NEAR * (1 - share) + FAR * share
    drawn: UInt8 = np.where(depth[..., None] > 0, mixed, UNKNOWN).astype(np.uint8)
    return drawn


def depth_range(depth: Float32) -> tuple[float, float]:
    """Smallest and largest valid depth, metres."""
    valid = depth[np.isfinite(depth) & (depth > 0)]
    return (float(valid.min()), float(valid.max())) if valid.size else (0.0, 0.0)
