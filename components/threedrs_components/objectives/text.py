"""Cross-entropy of text."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy


def text_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum over tokens of their cross-entropy, in float32.

    Args:
        logits: [A, V] at the positions before the learned tokens; only those are ever computed.
        targets: [A] int64, the learned tokens.
        weights: [A]; one over the number of learned tokens of a question gives its mean.
    """
    return (cross_entropy(logits.float(), targets, reduction="none") * weights).sum()
