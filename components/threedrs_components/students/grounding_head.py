"""Choice among candidate objects by cosine between a query state and object features."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class GroundingHead(nn.Module):
    """Two MLPs into one space; the last candidate is a learned "no object"."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.no_object = nn.Parameter(torch.randn(width))
        self.object_projection = _projection(width)
        self.query_projection = _projection(width)

    def objects(self, features: Tensor) -> Tensor:
        """Candidates [S, K, C] to unit vectors [S, K + 1, C], "no object" last."""
        absent = self.no_object.to(features.dtype).expand(features.shape[0], 1, -1)
        return _unit(self.object_projection(torch.cat([features, absent], dim=1)))

    def forward(self, queries: Tensor, candidates: Tensor, scene: Tensor) -> Tensor:
        """Cosines [G, K + 1] of queries [G, C] with the `objects()` [S, K + 1, C] of scenes [G].

        In float32 also under autocast, which would round a matrix product to three digits.
        """
        unit = _unit(self.query_projection(queries))
        return (candidates[scene] * unit[:, None]).sum(-1)


def _projection(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, width), nn.ReLU(), nn.LayerNorm(width), nn.Linear(width, width)
    )


def _unit(vectors: Tensor) -> Tensor:
    return functional.normalize(vectors.float(), dim=-1)
