"""One feature per candidate box, pooled from token maps."""

from __future__ import annotations

import torch
from torch import Tensor


def pooled(weights: Tensor, tokens: Tensor) -> Tensor:
    """Weighted mean of tokens for each candidate; zeros where a candidate covers no token.

    Args:
        weights: [..., K, F, P, P] shares of each cell inside each candidate.
        tokens: [..., F, P, P, C].

    Returns:
        [..., K, C] in the tokens' dtype.
    """
    flat = weights.flatten(-3).to(tokens.dtype)
    normed = flat / flat.sum(-1, keepdim=True).clamp_min(torch.finfo(tokens.dtype).tiny)
    return torch.matmul(normed, tokens.flatten(-4, -2))


def object_features(
    weights: Tensor, hidden: Tensor | None, vision: Tensor | None, encoding: Tensor | None
) -> Tensor:
    """Mean of the branches that are given.

    Args:
        weights: [..., K, F, P, P].
        hidden: [..., F, P, P, C] last hidden states of the LLM, or None.
        vision: [..., F, P, P, C] projected vision tokens without position encoding, or None.
        encoding: [..., K, C] encoding of the box centres, added to the vision branch, or None.
    """
    branches: list[Tensor] = []
    if hidden is not None:
        branches.append(pooled(weights, hidden))
    if vision is not None:
        features = pooled(weights, vision)
        branches.append(features if encoding is None else features + encoding.to(features.dtype))
    assert branches, "an object feature needs a branch"
    return branches[0] if len(branches) == 1 else torch.stack(branches).mean(0)
