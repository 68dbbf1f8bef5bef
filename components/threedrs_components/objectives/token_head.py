"""A small head that reads something of geometry off the state of each visual token."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import gelu


class TokenHead(nn.Module):
    """LayerNorm, Linear, GELU, Linear, token by token: no token sees another."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        # States grow from layer to layer, and in a few dimensions a thousandfold.
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, hidden)
        self.read = nn.Linear(hidden, out)

    def forward(self, states: Tensor) -> Tensor:
        """[..., C] states to [..., out] float32."""
        known: Tensor = self.norm(states.to(self.norm.weight.dtype))
        read: Tensor = self.read(gelu(self.widen(known)))
        return read.float()
