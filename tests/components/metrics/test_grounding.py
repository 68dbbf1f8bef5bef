"""Choosing boxes from scores, and the F1 of sets of boxes."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threedrs_components.metrics.grounding import best_candidate, box_set_f1, select_boxes
from threedrs_components.metrics.iou import DOUBLE, iou_matrix

UNIT = (0.0, 0.0, 0.0, 1.0, 1.0, 1.0)
AWAY = (9.0, 0.0, 0.0, 1.0, 1.0, 1.0)
boxes = st.lists(
    st.tuples(*[st.floats(-1, 1)] * 3, *[st.floats(0.5, 2)] * 3), min_size=0, max_size=4
)


@pytest.mark.parametrize(
    ("scores", "best"),
    [([0.1, 0.9, 0.2, 0.0], 1), ([0.1, 0.3, 0.2, 0.9], 1), ([0.5, 0.5, 0.0], 0), ([0.7], None)],
)
def test_the_best_candidate_is_a_box_even_if_no_object_scores_higher(
    scores: list[float], best: int | None
) -> None:
    assert best_candidate(scores) == best


@pytest.mark.parametrize(
    ("scores", "chosen"),
    [
        # 0.9 and 0.2 differ by 10 temperatures: the first has all the probability.
        ([0.9, 0.2, 0.1], (0,)),
        # "No object" is the largest, also when it ties with nothing before it.
        ([0.2, 0.1, 0.9], ()),
        # Three equal boxes and a negligible last entry: 1/3 < 0.4 <= 2/3.
        ([0.8, 0.8, 0.8, -0.9], (0, 1)),
        # A tie between a box and "no object": the first index wins, p = 1/2 >= 0.4.
        ([0.8, 0.8], (0,)),
        # Box 1 leads with e^1 / (e^1 + 1 + 1 + 1) = 0.475.
        ([0.0, 0.07, 0.0, 0.0], (1,)),
        # Box 2 has 0.355, with the first of the two others 0.355 + 0.215 = 0.57.
        ([0.035, 0.035, 0.07, 0.035], (2, 0)),
        # Behind by 0.025, or e^-0.357 = 0.70: box 0 has 1 / 2.40 = 0.417.
        ([0.8, 0.775, 0.775, -0.9], (0,)),
        # Behind by 0.015, or e^-0.214 = 0.81: box 0 has 1 / 2.61 = 0.383, which is not enough.
        ([0.8, 0.785, 0.785, -0.9], (0, 1)),
        ([0.9], ()),
        ([], ()),
    ],
)
def test_boxes_are_taken_until_their_probabilities_reach_two_fifths(
    scores: list[float], chosen: tuple[int, ...]
) -> None:
    assert select_boxes(scores) == chosen


def f1_by_trying_all_assignments(
    predicted: list[tuple[float, ...]], truth: list[tuple[float, ...]], threshold: float
) -> float:
    # The evaluators keep the overlaps in single precision, where 1/4 less the constant is 1/4.
    overlaps = iou_matrix(predicted, truth, DOUBLE).astype(np.float32)
    if overlaps.shape[0] > overlaps.shape[1]:
        overlaps = overlaps.T
    rows = range(overlaps.shape[0])
    best = max(
        permutations(range(overlaps.shape[1]), overlaps.shape[0]),
        key=lambda columns: sum(
            overlaps[row, column] for row, column in zip(rows, columns, strict=True)
        ),
    )
    hits = sum(overlaps[row, column] >= threshold for row, column in zip(rows, best, strict=True))
    return 2 * int(hits) / (len(predicted) + len(truth))


@pytest.mark.parametrize(
    ("predicted", "truth", "f1"),
    [
        ([], [], 1.0),
        ([UNIT], [], 0.0),
        ([], [UNIT], 0.0),
        ([UNIT], [UNIT], 1.0),
        ([UNIT, AWAY], [UNIT], 2 / 3),
        ([UNIT, UNIT], [UNIT], 2 / 3),
        ([UNIT], [UNIT, AWAY], 2 / 3),
        ([AWAY], [UNIT], 0.0),
    ],
)
def test_f1_of_small_sets(
    predicted: list[tuple[float, ...]], truth: list[tuple[float, ...]], f1: float
) -> None:
    assert box_set_f1(predicted, truth, (0.25,))[0] == pytest.approx(f1)


@settings(max_examples=60, deadline=None)
@given(predicted=boxes, truth=boxes)
def test_f1_agrees_with_trying_all_assignments(
    predicted: list[tuple[float, ...]], truth: list[tuple[float, ...]]
) -> None:
    if predicted and truth:
        value = box_set_f1(predicted, truth, (0.25,), DOUBLE)[0]
        assert value == pytest.approx(f1_by_trying_all_assignments(predicted, truth, 0.25))


@settings(max_examples=60, deadline=None)
@given(predicted=boxes, truth=boxes, seed=st.integers(0, 99))
def test_f1_does_not_depend_on_the_order_of_boxes(
    predicted: list[tuple[float, ...]], truth: list[tuple[float, ...]], seed: int
) -> None:
    generator = np.random.default_rng(seed)
    shuffled = [predicted[index] for index in generator.permutation(len(predicted))]
    turned = [truth[index] for index in generator.permutation(len(truth))]
    assert box_set_f1(predicted, truth, (0.25, 0.5)) == box_set_f1(shuffled, turned, (0.25, 0.5))
