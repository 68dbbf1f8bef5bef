"""Overlap of axis-aligned boxes given as centre and full size (x y z, dx dy dz) or by corners."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class IouRule:
    """What the evaluators disagree about: the constant added to the union, and the precision."""

    eps: float = 1e-8
    single_precision: bool = False

    @property
    def dtype(self) -> type[np.floating[Any]]:
        """The floating type all arithmetic is done in."""
        return np.float32 if self.single_precision else np.float64


DOUBLE = IouRule()
"""3DRS, ScanRefer, Chat-Scene, LEO."""
SCAN2CAP = IouRule(eps=1e-8, single_precision=True)
M3DREF_CLIP = IouRule(eps=1.1920929e-7, single_precision=True)


class CornerBox(tuple[float, float, float, float, float, float]):
    """Centre and size of a box that is known by its corners, and those corners as they were given.

    Centre and size lose a last bit, which decides cases at exactly 1/4 and 1/2.
    """

    ends: tuple[Sequence[float], Sequence[float]] | None = None
    """Lowest and highest corner; None where the box was copied number by number."""

    @classmethod
    def around(cls, corners: Sequence[Sequence[float]]) -> CornerBox:
        """The axis-aligned box round some points."""
        points = np.asarray(corners, dtype=np.float64)
        lowest, highest = points.min(axis=0), points.max(axis=0)
        box = cls(((lowest + highest) / 2).tolist() + (highest - lowest).tolist())
        box.ends = (lowest.tolist(), highest.tolist())
        return box


def bounds(boxes: ArrayLike, rule: IouRule = DOUBLE) -> tuple[Array, Array]:
    """Minimum and maximum corner of each box [..., 6]; negative sizes give the same hull."""
    array = np.asarray(boxes, dtype=np.float64)
    half = np.abs(array[..., 3:6]) / 2
    lowest, highest = array[..., :3] - half, array[..., :3] + half
    for row, box in enumerate(boxes if isinstance(boxes, (list, tuple)) else ()):
        if isinstance(box, CornerBox) and box.ends is not None:
            lowest[row], highest[row] = box.ends
    return lowest.astype(rule.dtype), highest.astype(rule.dtype)


def _bounds_of_rows(boxes: ArrayLike, rule: IouRule) -> tuple[Array, Array]:
    lowest, highest = bounds(boxes, rule)
    return lowest.reshape(-1, 3), highest.reshape(-1, 3)


def _overlap(low_a: Array, high_a: Array, low_b: Array, high_b: Array, rule: IouRule) -> Array:
    sides = np.clip(np.minimum(high_a, high_b) - np.maximum(low_a, low_b), 0, None)
    intersection = np.prod(sides, axis=-1)
    union = np.prod(high_a - low_a, axis=-1) + np.prod(high_b - low_b, axis=-1) - intersection
    result: Array = intersection / (union + rule.dtype(rule.eps))
    return result


def iou_matrix(first: ArrayLike, second: ArrayLike, rule: IouRule = DOUBLE) -> Array:
    """IoU of every box of the first list [N, 6] with every box of the second [M, 6] -> [N, M]."""
    low_a, high_a = _bounds_of_rows(first, rule)
    low_b, high_b = _bounds_of_rows(second, rule)
    return _overlap(low_a[:, None], high_a[:, None], low_b[None], high_b[None], rule)


def paired_iou(first: ArrayLike, second: ArrayLike, rule: IouRule = DOUBLE) -> Array:
    """IoU of row i with row i, both [N, 6] -> [N]."""
    low_a, high_a = _bounds_of_rows(first, rule)
    low_b, high_b = _bounds_of_rows(second, rule)
    return _overlap(low_a, high_a, low_b, high_b, rule)
