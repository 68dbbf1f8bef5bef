"""Contrastive grounding: pick the described objects among the scene's candidates."""

from __future__ import annotations

import torch
from torch import Tensor

from threedrs_components.objectives.config import GroundingConfig

TEMPERATURE: float = GroundingConfig.model_fields["temperature"].default


def grounding_loss(
    scores: Tensor, positives: Tensor, mask: Tensor | None = None, temperature: float = TEMPERATURE
) -> Tensor:
    """Mean over queries of -log(sum over positives exp(s / t) / sum over all exp(s / t)).

    Positives stand jointly in the numerator: it is enough to be sure of their union.

    Args:
        scores: [Q, K + 1] cosines with the candidates, "no object" last.
        positives: [Q, K + 1] bool, at least one per query; "no object" for a zero-target query.
        mask: [Q, K + 1] bool, candidates that exist; None if all do.
        temperature: t.

    Raises:
        ValueError: a query has no positive among its candidates.
    """
    present = torch.ones_like(positives) if mask is None else mask
    targets = positives & present
    without = (~targets.any(dim=1)).nonzero().flatten().tolist()
    if without:
        raise ValueError(
            f"query {without[0]} has no positive candidate; "
            "a query without target must mark the last slot"
        )
    logits = scores.float() / temperature
    every = logits.masked_fill(~present, -torch.inf).logsumexp(dim=1)
    chosen = logits.masked_fill(~targets, -torch.inf).logsumexp(dim=1)
    return (every - chosen).mean()
