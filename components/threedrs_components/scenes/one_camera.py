"""One camera for a scene each of whose frames has a focal length and a centre of its own."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from threedrs_platform.records import Float32, UInt8

Pixels = TypeVar("Pixels", UInt8, Float32)


def shared_camera(own: Float32) -> Float32:
    """The median [3, 3] of the frames' intrinsics [F, 3, 3]."""
    median: Float32 = np.median(own, axis=0).astype(np.float32)
    return median


def seen_by(shared: Float32, own: Float32, frames: Pixels, *, repeat_edge: bool) -> Pixels:
    """Frames [F, h, w, ...] of cameras [F, 3, 3] as one camera [3, 3] at their places sees them.

    It looks in the same direction, so z-depth stays: each pixel is the nearest one of its frame.
    Beyond the end of the frame it is 0, which as depth is invalid, or that of the edge.
    """
    if np.allclose(own, shared):
        return frames
    seen = np.empty_like(frames)
    for number, camera in enumerate(own):
        rows = _nearest(frames.shape[1], camera[1, [1, 2]], shared[1, [1, 2]])
        columns = _nearest(frames.shape[2], camera[0, [0, 2]], shared[0, [0, 2]])
        held = [axis.clip(0, len(axis) - 1) for axis in (rows, columns)]
        seen[number] = frames[number][np.ix_(*held)]
        if not repeat_edge:
            seen[number][rows != held[0]] = 0
            seen[number][:, columns != held[1]] = 0
    return seen


def _nearest(size: int, own: Float32, shared: Float32) -> NDArray[np.int64]:
    """Where pixels of one camera lie in another along an axis, each (focal length, centre)."""
    rays = (np.arange(size) - float(shared[1])) / float(shared[0])
    places: NDArray[np.int64] = np.rint(rays * float(own[0]) + float(own[1])).astype(np.int64)
    return places
