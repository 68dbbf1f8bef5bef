"""Features as pictures: principal components as colours, cosines of one token to all others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Features = NDArray[np.floating[Any]]
Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]
Int64 = NDArray[np.int64]

COLOURS = 3
CLIPPED_PERCENT = 2.0
"""Share at either end of a component that is drawn at full or no intensity: outliers would
otherwise leave everything else grey."""
ITERATIONS = 24


def principal_colours(features: Features) -> UInt8:
    """The three strongest principal components of a scene's tokens as red, green and blue.

    Args:
        features: [F, rows, columns, channels].

    Returns:
        [F, rows, columns, 3] uint8. Signs are fixed, so that equal features give equal colours;
        colours of two models do not compare.
    """
    shape = features.shape[:3]
    tokens = features.reshape(-1, features.shape[-1]).astype(np.float64)
    components = _components(tokens - tokens.mean(axis=0))
    low, high = np.percentile(components, [CLIPPED_PERCENT, 100 - CLIPPED_PERCENT], axis=0)
    span = np.where(high > low, high - low, 1.0)
    scaled = np.clip((components - low) / span, 0.0, 1.0)
    colours: UInt8 = np.rint(scaled * 255).astype(np.uint8).reshape(*shape, COLOURS)
    return colours


def _components(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """[T, 3] projections on the leading directions, by orthogonal iteration from a fixed start."""
    start = np.random.default_rng(0).standard_normal((centred.shape[1], COLOURS))
    directions = np.linalg.qr(start)[0]
    for _ in range(ITERATIONS):
        directions = np.linalg.qr(centred.T @ (centred @ directions))[0]
    rotation = np.linalg.svd(centred @ directions, full_matrices=False)[2].T
    directions = directions @ rotation
    strongest = np.abs(directions).argmax(axis=0)
    signs = np.sign(directions[strongest, np.arange(directions.shape[1])])
    projected: NDArray[np.float64] = centred @ (directions * np.where(signs == 0, 1.0, signs))
    missing = COLOURS - projected.shape[1]
    return np.pad(projected, ((0, 0), (0, missing))) if missing > 0 else projected


def cosines(features: Features, token: int) -> Float32:
    """Cosine of one token's feature with every token's, as the correspondence score takes it.

    Args:
        features: [F, rows, columns, channels].
        token: number, counted frame by frame and row by row.

    Returns:
        [F, rows, columns] float32; 0 where either feature is zero.
    """
    flat = features.reshape(-1, features.shape[-1]).astype(np.float32)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    unit = flat / np.where(norms > 0, norms, 1.0)
    found: Float32 = (unit @ unit[token]).reshape(features.shape[:3])
    return found


def heat(values: Float32) -> Float32:
    """Values stretched to [0, 1] over what is shown, for the opacity of a map."""
    low, high = float(values.min()), float(values.max())
    span = high - low
    stretched: Float32 = (values - low) / span if span > 0 else np.zeros_like(values)
    return stretched
