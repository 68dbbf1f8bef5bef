"""Cross-entropy of the answer text."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

IGNORED = -100
"""Label of a position that is not part of an answer."""


def text_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in float32 over labelled positions; 0 if there is none.

    Args:
        logits: [..., V]; the logits at a position predict the label at the same position, so the
            caller has already shifted them.
        labels: [...] int64, IGNORED where nothing is to be learned.
    """
    flat = labels.reshape(-1)
    labelled = flat != IGNORED
    chosen = logits.reshape(-1, logits.shape[-1])[labelled].float()
    total = cross_entropy(chosen, flat[labelled], reduction="sum")
    return total / labelled.sum().clamp(min=1).to(torch.float32)
