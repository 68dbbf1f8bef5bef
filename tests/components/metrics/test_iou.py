"""Overlap of boxes, against interval arithmetic."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threedrs_components.metrics.iou import (
    DOUBLE,
    M3DREF_CLIP,
    SCAN2CAP,
    CornerBox,
    IouRule,
    iou_matrix,
    paired_iou,
)

coordinate = st.floats(-5, 5)
box = st.tuples(coordinate, coordinate, coordinate, *[st.floats(0.01, 4)] * 3)


def iou_by_intervals(first: tuple[float, ...], second: tuple[float, ...], eps: float) -> float:
    intersection = 1.0
    for axis in range(3):
        low = max(first[axis] - first[axis + 3] / 2, second[axis] - second[axis + 3] / 2)
        high = min(first[axis] + first[axis + 3] / 2, second[axis] + second[axis + 3] / 2)
        intersection *= max(0.0, high - low)
    volumes = first[3] * first[4] * first[5] + second[3] * second[4] * second[5]
    return intersection / (volumes - intersection + eps)


def test_half_overlapping_unit_cubes_share_a_third() -> None:
    # Overlap 0.5 * 1 * 1; union 1 + 1 - 0.5.
    value = iou_matrix([[0, 0, 0, 1, 1, 1]], [[0.5, 0, 0, 1, 1, 1]])[0, 0]
    assert value == pytest.approx(0.5 / (1.5 + 1e-8), abs=1e-15)


def test_touching_boxes_do_not_overlap() -> None:
    assert iou_matrix([[0, 0, 0, 1, 1, 1]], [[1, 0, 0, 1, 1, 1]])[0, 0] == 0.0


def test_negative_sizes_mean_the_same_hull() -> None:
    assert iou_matrix([[0, 0, 0, -1, 1, -1]], [[0, 0, 0, 1, 1, 1]])[0, 0] > 0.999


def test_flat_boxes_have_no_overlap_instead_of_a_division_by_zero() -> None:
    assert iou_matrix([[0, 0, 0, 0, 0, 0]], [[0, 0, 0, 0, 0, 0]])[0, 0] == 0.0


@pytest.mark.parametrize("rule", [DOUBLE, SCAN2CAP, M3DREF_CLIP])
@settings(deadline=None)
@given(first=box, second=box)
def test_iou_agrees_with_interval_arithmetic(
    rule: IouRule, first: tuple[float, ...], second: tuple[float, ...]
) -> None:
    expected = iou_by_intervals(first, second, rule.eps)
    tolerance = 1e-3 if rule.single_precision else 1e-9
    assert iou_matrix([first], [second], rule)[0, 0] == pytest.approx(expected, abs=tolerance)


@settings(deadline=None)
@given(first=st.lists(box, min_size=1, max_size=4), second=st.lists(box, min_size=1, max_size=4))
def test_iou_is_symmetric_and_a_share(
    first: list[tuple[float, ...]], second: list[tuple[float, ...]]
) -> None:
    overlaps = iou_matrix(first, second)
    assert (overlaps >= 0).all() and (overlaps <= 1).all()
    np.testing.assert_array_equal(overlaps, iou_matrix(second, first).T)


def test_pairs_are_the_diagonal_of_the_matrix() -> None:
    boxes = np.random.default_rng(0).uniform(0.5, 2, size=(2, 7, 6))
    np.testing.assert_array_equal(
        paired_iou(boxes[0], boxes[1]), np.diag(iou_matrix(boxes[0], boxes[1]))
    )


GIVEN = [[0.1, 0.2, 0.3], [1.5550000000000002, 0.905, 0.561]]
ASKED = [[0.1, 0.2, 0.3], [3.0099999456536515, 0.905, 0.561]]
"""IoU is 1/2 to the last bit by these corners, and less through centre and size."""


def by_hand(first: list[list[float]], second: list[list[float]]) -> float:
    shared = volume = other = 1.0
    for axis in range(3):
        (low, high), (start, end) = ((box[0][axis], box[1][axis]) for box in (first, second))
        shared *= max(0.0, min(high, end) - max(low, start))
        volume, other = volume * (high - low), other * (end - start)
    return shared / (volume + other - shared + 1e-8)


def test_corners_are_compared_as_they_are_given() -> None:
    first, second = CornerBox.around(GIVEN), CornerBox.around(ASKED)
    assert by_hand(GIVEN, ASKED) == 0.5
    assert paired_iou([first], [second])[0] == iou_matrix([first], [second])[0, 0] == 0.5
    assert paired_iou([tuple(first)], [tuple(second)])[0] < 0.5
