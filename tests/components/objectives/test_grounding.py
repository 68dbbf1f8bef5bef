"""Grounding and text losses against their formulas."""

from __future__ import annotations

import math

import pytest
import torch

from threedrs_components.objectives.grounding import grounding_loss, positive_slots
from threedrs_components.objectives.text import text_loss

SCORES = torch.tensor([[0.9, 0.1, -0.3, 0.2], [0.0, 0.5, 0.4, -0.2]])


def share(row: int, chosen: list[int], among: list[int], temperature: float = 0.07) -> float:
    weights = [math.exp(SCORES[row, slot].item() / temperature) for slot in range(4)]
    return -math.log(sum(weights[slot] for slot in chosen) / sum(weights[slot] for slot in among))


def test_positives_share_the_numerator() -> None:
    positives = torch.tensor([[True, True, False, False], [False, False, False, True]])
    expected = (share(0, [0, 1], [0, 1, 2, 3]) + share(1, [3], [0, 1, 2, 3])) / 2
    assert grounding_loss(SCORES, positives).item() == pytest.approx(expected, abs=1e-5)


def test_absent_candidates_do_not_count() -> None:
    positives = torch.tensor([[True, True, False, False], [False, True, False, False]])
    mask = torch.tensor([[True, False, True, True], [True, True, False, True]])
    expected = (share(0, [0], [0, 2, 3]) + share(1, [1], [0, 1, 3])) / 2
    assert grounding_loss(SCORES, positives, mask).item() == pytest.approx(expected, abs=1e-5)


def test_absent_candidates_get_a_zero_gradient() -> None:
    scores = SCORES.clone().requires_grad_()
    mask = torch.tensor([[True, False, True, True]] * 2)
    positives = torch.tensor([[True, False, False, False]] * 2)
    (gradient,) = torch.autograd.grad(grounding_loss(scores, positives, mask), scores)
    assert torch.isfinite(gradient).all() and not gradient[:, 1].any()


def test_temperature_is_the_released_one() -> None:
    positives = torch.tensor([[True, False, False, False]] * 2)
    assert grounding_loss(SCORES, positives).item() == pytest.approx(
        grounding_loss(SCORES, positives, temperature=0.07).item()
    )


def test_a_query_without_positive_is_named() -> None:
    positives = torch.tensor([[True, False, False, False], [False] * 4])
    with pytest.raises(ValueError, match="query 1 has no positive candidate"):
        grounding_loss(SCORES, positives)


def test_slots_mark_targets_or_no_object() -> None:
    assert positive_slots([7, 2], [2, 5, 7]).tolist() == [True, False, True, False]
    assert positive_slots([], [2, 5]).tolist() == [False, False, True]


def test_a_target_that_is_no_candidate_is_named() -> None:
    with pytest.raises(ValueError, match="object 9 is not among"):
        positive_slots([9], [1, 2])


def test_text_loss_is_the_mean_over_labelled_positions() -> None:
    logits = torch.tensor([[[2.0, 0.0], [0.0, 0.0], [0.0, 1.0]]])
    labels = torch.tensor([[0, -100, 0]])
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 2
    assert text_loss(logits, labels).item() == pytest.approx(expected)


def test_text_loss_of_nothing_is_zero() -> None:
    logits = torch.zeros(3, 5, requires_grad=True)
    loss = text_loss(logits, torch.full((3,), -100))
    assert loss.item() == 0.0
    assert not torch.autograd.grad(loss, logits)[0].any()
