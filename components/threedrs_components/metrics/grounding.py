"""Choosing boxes from scores, and the F1 of two sets of boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from threedrs_components.metrics.iou import DOUBLE, IouRule, iou_matrix

TEMPERATURE = 0.07
"""Of the softmax over candidate scores; the value the grounding loss is trained with."""
CUMULATED = 0.4
"""Boxes are taken until their probabilities add up to this."""


def best_candidate(scores: ArrayLike) -> int | None:
    """Index of the best box among scores whose last entry means "no object"; None without boxes.

    The answer is always a box, even where "no object" scores highest. First index on ties.
    """
    candidates = np.asarray(scores, dtype=np.float64)[:-1]
    return int(np.argmax(candidates)) if candidates.size else None


def select_boxes(
    scores: ArrayLike, temperature: float = TEMPERATURE, cumulated: float = CUMULATED
) -> tuple[int, ...]:
    """Indices of the boxes a score vector [K + 1] stands for, best first.

    Nothing if the last entry ("no object") is the largest; else the fewest best boxes whose
    softmax probabilities reach `cumulated`. The probability of "no object" is left out of the sum
    but not of the normalisation, so all boxes are taken where they never reach it.
    """
    values = np.asarray(scores, dtype=np.float32)
    if values.size <= 1 or int(np.argmax(values)) == values.size - 1:
        return ()
    logits = values / np.float32(temperature)
    weights = np.exp(logits - logits.max())
    probabilities = weights / weights.sum()
    order = np.argsort(-probabilities[:-1], kind="stable")
    reached = np.cumsum(probabilities[order]) >= cumulated
    count = int(np.argmax(reached)) + 1 if reached.any() else order.size
    return tuple(int(index) for index in order[:count])


def matched_overlaps(
    predicted: ArrayLike, truth: ArrayLike, rule: IouRule = DOUBLE
) -> NDArray[np.floating[Any]]:
    """IoUs of the one-to-one assignment of predicted to true boxes with the largest total IoU."""
    # Here and not above: SciPy takes a second to import, and the grid only wants benchmark names.
    from scipy.optimize import linear_sum_assignment

    overlaps = iou_matrix(predicted, truth, rule)
    side = max(overlaps.shape)
    square = np.zeros((side, side), dtype=np.float32)  # both evaluators compare in float32
    square[: overlaps.shape[0], : overlaps.shape[1]] = overlaps
    rows, columns = linear_sum_assignment(square, maximize=True)
    matched: NDArray[np.floating[Any]] = square[rows, columns]
    return matched


def box_set_f1(
    predicted: Sequence[Sequence[float]],
    truth: Sequence[Sequence[float]],
    thresholds: Sequence[float],
    rule: IouRule = DOUBLE,
) -> tuple[float, ...]:
    """F1 of two sets of boxes per IoU threshold: 1 if both are empty, 0 if only one is."""
    if not predicted and not truth:
        return tuple(1.0 for _ in thresholds)
    if not predicted or not truth:
        return tuple(0.0 for _ in thresholds)
    matched = matched_overlaps(predicted, truth, rule)
    total = len(predicted) + len(truth)
    return tuple(2.0 * int((matched >= threshold).sum()) / total for threshold in thresholds)
