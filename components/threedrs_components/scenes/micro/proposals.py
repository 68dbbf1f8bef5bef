"""Imperfect box proposals, standing in for a detector's: jittered, split and spurious boxes."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from threedrs_components.scenes.micro.rooms import Room
from threedrs_platform.records import Float32

SHIFT_SD = 0.05
"""Of a box's size, per axis."""
GROWTH_SD = 0.09
"""Of the logarithm of a box's size, per axis."""
LOOSENESS = (0.3, 0.6)
"""Mean and deviation of the logarithm of a factor on both, drawn per box: some boxes are poor."""
SPLIT_SHARE = 0.35
"""Share of the objects that are also proposed in two halves."""
CUT = (0.4, 0.6)
"""Where a split box is cut, as a share of its longer side."""
SPURIOUS_SHARE = 0.3
"""Boxes around nothing, per object."""


def propose(boxes: Float32, room: Room, rng: Generator) -> Float32:
    """About twice as many proposals as boxes [K, 6], in random order: [Q, 6]."""
    count = len(boxes)
    split = [half for box in boxes if rng.random() < SPLIT_SHARE for half in _halves(box, rng)]
    spurious = [_anywhere(boxes, room, rng) for _ in range(rng.binomial(count, SPURIOUS_SHARE))]
    everything = np.stack([*(_jittered(box, rng) for box in boxes), *split, *spurious])
    return everything[rng.permutation(len(everything))].astype(np.float32)


def _jittered(box: Float32, rng: Generator) -> Float32:
    looseness = rng.lognormal(*LOOSENESS)
    center = box[:3] + rng.normal(0, SHIFT_SD * looseness, 3) * box[3:]
    size = box[3:] * np.exp(rng.normal(0, GROWTH_SD * looseness, 3))
    return np.concatenate([center, size]).astype(np.float32)


def _halves(box: Float32, rng: Generator) -> list[Float32]:
    axis = 3 + int(np.argmax(box[3:]))
    share = rng.uniform(*CUT)
    low, high = box.copy(), box.copy()
    low[axis], high[axis] = box[axis] * share, box[axis] * (1 - share)
    low[axis - 3] -= (box[axis] - low[axis]) / 2
    high[axis - 3] += (box[axis] - high[axis]) / 2
    return [low, high]


def _anywhere(boxes: Float32, room: Room, rng: Generator) -> Float32:
    size = boxes[int(rng.integers(len(boxes))), 3:]
    x = rng.uniform(-1, 1) * (room.half_x - size[0] / 2)
    y = rng.uniform(-1, 1) * (room.half_y - size[1] / 2)
    return np.array([x, y, size[2] / 2, *size], dtype=np.float32)
