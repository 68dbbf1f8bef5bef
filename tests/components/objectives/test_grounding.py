"""The grounding loss against its formula."""

from __future__ import annotations

import math

import pytest
import torch

from threedrs_components.objectives.grounding import GroundingConfig
from threedrs_components.objectives.grounding_loss import grounding_loss

RELEASED = 0.07
SCORES = torch.tensor([[0.9, 0.1, -0.3, 0.2], [0.0, 0.5, 0.4, -0.2]])


def share(row: int, chosen: list[int], among: list[int], temperature: float = RELEASED) -> float:
    weights = [math.exp(SCORES[row, slot].item() / temperature) for slot in range(4)]
    return -math.log(sum(weights[slot] for slot in chosen) / sum(weights[slot] for slot in among))


def test_positives_share_the_numerator() -> None:
    positives = torch.tensor([[True, True, False, False], [False, False, False, True]])
    expected = (share(0, [0, 1], [0, 1, 2, 3]) + share(1, [3], [0, 1, 2, 3])) / 2
    assert grounding_loss(SCORES, positives, RELEASED).item() == pytest.approx(expected, abs=1e-5)


def test_absent_candidates_do_not_count() -> None:
    positives = torch.tensor([[True, True, False, False], [False, True, False, False]])
    mask = torch.tensor([[True, False, True, True], [True, True, False, True]])
    expected = (share(0, [0], [0, 2, 3]) + share(1, [1], [0, 1, 3])) / 2
    assert grounding_loss(SCORES, positives, RELEASED, mask).item() == pytest.approx(
        expected, abs=1e-5
    )


def test_absent_candidates_get_a_zero_gradient() -> None:
    scores = SCORES.clone().requires_grad_()
    mask = torch.tensor([[True, False, True, True]] * 2)
    positives = torch.tensor([[True, False, False, False]] * 2)
    (gradient,) = torch.autograd.grad(grounding_loss(scores, positives, RELEASED, mask), scores)
    assert torch.isfinite(gradient).all() and not gradient[:, 1].any()


def test_temperature_is_the_released_one() -> None:
    assert GroundingConfig().temperature == RELEASED


def test_a_query_without_positive_is_named() -> None:
    positives = torch.tensor([[True, False, False, False], [False] * 4])
    with pytest.raises(ValueError, match="query 1 has no positive candidate"):
        grounding_loss(SCORES, positives, RELEASED)
