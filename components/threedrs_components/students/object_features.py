"""One feature per candidate box, pooled from token maps."""

from __future__ import annotations

import torch
from torch import Tensor

HALF_OF_PATCH = 98 / 196
"""Share of a vision patch inside a box from which on it is released as the box's."""
EIGHTH_OF_CELL = 91 / 729
"""Share of the cell behind one token of the LLM from which on it is released as the box's."""
ROUNDING = 1e-6
"""What a share, a quotient in float32, may lack."""


def released_weights(shares: Tensor, threshold: float) -> Tensor:
    """1 where a share reaches the threshold, else 0; same shape and type."""
    return (shares >= threshold - ROUNDING).to(shares.dtype)


def pooled(weights: Tensor, tokens: Tensor) -> Tensor:
    """Weighted mean of tokens for each candidate; zeros where a candidate covers no token.

    Args:
        weights: [..., K, F, P, P] of each cell for each candidate.
        tokens: [..., F, P, P, C].

    Returns:
        [..., K, C] in the tokens' dtype.
    """
    flat = weights.flatten(-3).float()
    # Weights that are all zero stay zero instead of becoming 0 / 0.
    normed = flat / flat.sum(-1, keepdim=True).clamp_min(torch.finfo(flat.dtype).tiny)
    return torch.matmul(normed.to(tokens.dtype), tokens.flatten(-4, -2))


def object_features(
    hidden: Tensor | None, vision: Tensor | None, encoding: Tensor | None
) -> Tensor:
    """Mean of the branches that are given.

    Args:
        hidden: [..., K, C] pooled from last hidden states of the LLM, or None.
        vision: [..., K, C] pooled from projected vision tokens without position encoding, or None.
        encoding: [..., K, C] encoding of the box centres, added to the vision branch, or None.
    """
    branches = [] if hidden is None else [hidden]
    if vision is not None:
        branches.append(vision if encoding is None else vision + encoding.to(vision.dtype))
    assert branches, "an object feature needs a branch"
    return branches[0] if len(branches) == 1 else torch.stack(branches).mean(0)
