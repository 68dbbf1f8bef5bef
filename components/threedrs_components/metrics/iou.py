"""Overlap of axis-aligned boxes given as centre and full size: x y z, dx dy dz."""

from __future__ import annotations

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


def bounds(boxes: ArrayLike, rule: IouRule = DOUBLE) -> tuple[Array, Array]:
    """Minimum and maximum corner of each box [..., 6]; negative sizes give the same hull."""
    array = np.asarray(boxes, dtype=np.float64)
    half = np.abs(array[..., 3:6]) / 2
    lowest, highest = array[..., :3] - half, array[..., :3] + half
    return lowest.astype(rule.dtype), highest.astype(rule.dtype)


def _overlap(low_a: Array, high_a: Array, low_b: Array, high_b: Array, rule: IouRule) -> Array:
    sides = np.clip(np.minimum(high_a, high_b) - np.maximum(low_a, low_b), 0, None)
    intersection = np.prod(sides, axis=-1)
    union = np.prod(high_a - low_a, axis=-1) + np.prod(high_b - low_b, axis=-1) - intersection
    result: Array = intersection / (union + rule.dtype(rule.eps))
    return result


def iou_matrix(first: ArrayLike, second: ArrayLike, rule: IouRule = DOUBLE) -> Array:
    """IoU of every box of the first list [N, 6] with every box of the second [M, 6] -> [N, M]."""
    low_a, high_a = bounds(np.asarray(first, dtype=np.float64).reshape(-1, 6), rule)
    low_b, high_b = bounds(np.asarray(second, dtype=np.float64).reshape(-1, 6), rule)
    return _overlap(low_a[:, None], high_a[:, None], low_b[None], high_b[None], rule)


def paired_iou(first: ArrayLike, second: ArrayLike, rule: IouRule = DOUBLE) -> Array:
    """IoU of row i with row i, both [N, 6] -> [N]."""
    low_a, high_a = bounds(np.asarray(first, dtype=np.float64).reshape(-1, 6), rule)
    low_b, high_b = bounds(np.asarray(second, dtype=np.float64).reshape(-1, 6), rule)
    return _overlap(low_a, high_a, low_b, high_b, rule)
