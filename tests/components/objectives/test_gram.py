"""The Gram objective against a loop over all pairs, and what it keeps in memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from threedrs_components.objectives import token_gram
from threedrs_components.objectives.gram_loss import gram_loss

torch.set_num_threads(1)


def by_pairs(states: Tensor, features: Tensor) -> Tensor:
    """Slow reference: SpatioLM's token loss, pair by pair."""
    cosine = torch.nn.functional.cosine_similarity
    count, total = len(states), states.new_zeros(())
    for first in range(count):
        for second in range(count):
            if first != second:
                own = cosine(states[first], states[second], dim=0)
                total = total + (own - cosine(features[first], features[second], dim=0)).abs()
    return total / (count * (count - 1))


def tokens(count: int, width: int, seed: int) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("rows", [5, 1024])
def test_it_is_the_mean_over_all_pairs(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_gram, "GRAM_ROWS", rows)
    states, features = tokens(13, 6, 0).requires_grad_(), tokens(13, 4, 1)
    fast, slow = gram_loss(states, features), by_pairs(states, features)
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(
        torch.autograd.grad(fast, states)[0], torch.autograd.grad(slow, states)[0]
    )


def test_a_token_is_not_compared_with_itself() -> None:
    """A zero vector is unlike itself, which is no news of two tokens."""
    states, features = torch.zeros(2, 3), torch.eye(2)
    assert gram_loss(states, features).item() == 0


def test_no_matrix_of_all_pairs_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 96
    monkeypatch.setattr(token_gram, "GRAM_ROWS", 8)
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    states = tokens(count, 4, 0).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = gram_loss(states, tokens(count, 4, 1))
        held = sum(kept.values())
        torch.autograd.backward(loss)
    assert held < count * count / 4, "in the graph, all blocks together"
    assert max(kept.values()) <= 8 * count, "while going back, one block"


def test_bfloat16_states_are_compared_in_float32() -> None:
    states, features = tokens(40, 32, 0).bfloat16(), tokens(40, 8, 1)
    with torch.autocast("cpu", torch.bfloat16):
        loss = gram_loss(states, features)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(gram_loss(states.double().float(), features).item())
