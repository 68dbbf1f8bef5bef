"""The content-free control: how well frame number and patch alone tell where an object is.

If this reads anything above zero, camera paths leak positions, and no 3D probe means anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from threedrs_platform.records import Float32, UInt8

GRID = 4
"""Patches per side."""
RIDGE = 1.0


@dataclass(frozen=True)
class ObjectTraces:
    """Where objects appear, without what they look like. n objects."""

    weights: Float32
    """[n, F * GRID * GRID] share of the object's pixels per frame and patch"""
    positions: Float32
    """[n, 2] east and north, metres"""


def object_traces(instances: UInt8, boxes: Float32) -> ObjectTraces:
    """Traces of one scene's objects from its instance maps [F, H, W]."""
    frames, height, width = instances.shape
    rows = np.arange(height) * GRID // height
    columns = np.arange(width) * GRID // width
    cell = (np.arange(frames)[:, None, None] * GRID + rows[:, None]) * GRID + columns
    num_cells, num_objects = frames * GRID * GRID, len(boxes)
    flat = instances.astype(np.int64) * num_cells + cell
    counts = np.bincount(flat.ravel(), minlength=(num_objects + 1) * num_cells)
    weights = counts.reshape(num_objects + 1, num_cells)[1:].astype(np.float32)
    weights /= np.maximum(weights.sum(1, keepdims=True), 1)
    return ObjectTraces(weights, boxes[:, :2])


def join_traces(traces: list[ObjectTraces]) -> ObjectTraces:
    """Traces of several scenes as one."""
    return ObjectTraces(
        np.concatenate([trace.weights for trace in traces]),
        np.concatenate([trace.positions for trace in traces]),
    )


def content_free_r2(fit: ObjectTraces, test: ObjectTraces) -> tuple[float, float]:
    """Held-out R2 of a ridge regression from traces to east and north."""
    features, targets = fit.weights.astype(np.float64), fit.positions.astype(np.float64)
    middle, mean = features.mean(0), targets.mean(0)
    centred = features - middle
    gram = centred.T @ centred + RIDGE * np.eye(centred.shape[1])
    coefficients = np.linalg.solve(gram, centred.T @ (targets - mean))
    predicted = (test.weights - middle) @ coefficients + mean
    east, north = _r2(predicted, test.positions.astype(np.float64))
    return float(east), float(north)


def _r2(predicted: NDArray[np.float64], actual: NDArray[np.float64]) -> NDArray[np.float64]:
    residual = ((actual - predicted) ** 2).sum(0)
    return np.asarray(1 - residual / ((actual - actual.mean(0)) ** 2).sum(0))
