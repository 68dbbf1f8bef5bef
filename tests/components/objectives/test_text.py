"""The text loss against its formula."""

from __future__ import annotations

import math

import pytest
import torch

from threedrs_components.objectives.text_loss import text_loss

LOGITS = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
TARGETS = torch.tensor([0, 0])
EACH = [math.log(1 + math.exp(-2)), math.log(1 + math.exp(1))]


def test_tokens_count_by_their_weights() -> None:
    expected = 0.25 * EACH[0] + 2 * EACH[1]
    found = text_loss(LOGITS, TARGETS, torch.tensor([0.25, 2.0]))
    assert found.item() == pytest.approx(expected)


def test_narrow_logits_are_summed_in_float32() -> None:
    loss = text_loss(LOGITS.bfloat16(), TARGETS, torch.ones(2))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(sum(EACH), abs=1e-6)


def test_no_token_costs_nothing() -> None:
    logits = torch.zeros(0, 5, requires_grad=True)
    loss = text_loss(logits, torch.zeros(0, dtype=torch.long), torch.zeros(0))
    assert loss.item() == 0.0
