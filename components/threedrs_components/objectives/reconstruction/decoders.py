"""From a condition per cell to its pixels: a denoiser, or a regression."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, silu

TIMES = 1000
"""Noise levels, from none to pure noise."""
SMALL = 0.02
"""Deviation of what would be zero in DiT: with zeros no gradient reaches the student at first."""


class PooledCondition(nn.Module):
    """Learned queries, one per cell, ask the states of all frames that are seen."""

    def __init__(self, width: int, cells: int, heads: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(cells, width) * SMALL)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, seen: Tensor) -> Tensor:
        """[cells, W] of states [n, W]."""
        known = silu(seen)[None]
        found, _ = self.attention(self.queries[None], known, known, need_weights=False)
        pooled: Tensor = found[0]
        return pooled


class BirdsEye(nn.Module):
    """What the cells of a picture of the whole room ask, and where they lie in it."""

    def __init__(self, width: int, cells: int, heads: int, *, places: bool) -> None:
        super().__init__()
        self.pool = PooledCondition(width, cells, heads)
        self.places = nn.Parameter(torch.randn(cells, width) * SMALL) if places else None

    def forward(self, seen: Tensor) -> tuple[Tensor, Tensor | None]:
        """Conditions [cells, W] of states [n, W], and places [cells, W] for a denoiser."""
        return self.pool(seen), self.places


class Regression(nn.Module):
    """Pixels of a cell from its condition."""

    def __init__(self, width: int, values: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(width, width), nn.Linear(width, values)

    def forward(self, condition: Tensor) -> Tensor:
        """[..., values] of conditions [..., W]."""
        told: Tensor = self.out(gelu(self.hidden(condition)))
        return told


class Denoiser(nn.Module):
    """A diffusion transformer (DiT, arXiv 2212.09748) over the cells of one picture."""

    def __init__(self, width: int, values: int, cells: int, blocks: int, heads: int) -> None:
        super().__init__()
        self.enter = nn.Linear(values, width)
        self.places = nn.Parameter(torch.randn(cells, width) * SMALL)
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(blocks))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulate = _modulation(width, 2)
        self.leave = nn.Linear(width, values)

    def forward(
        self, noisy: Tensor, times: Tensor, condition: Tensor, places: Tensor | None = None
    ) -> Tensor:
        """The pixels [n, cells, values] behind noisy ones of n pictures.

        Args:
            noisy: [n, cells, values].
            times: [n] whole numbers below TIMES.
            condition: [n, cells, W].
            places: [cells, W] in the picture; None is a frame's.
        """
        dtype = self.enter.weight.dtype
        waves = _waves(times, self.enter.out_features).to(dtype)
        asked = silu(condition + self.time(waves)[:, None])
        states = self.enter(noisy.to(dtype)) + (self.places if places is None else places)
        for block in self.blocks:
            states = block(states, asked)
        shift, scale = self.modulate(asked).chunk(2, -1)
        told: Tensor = self.leave(self.norm(states) * (1 + scale) + shift)
        return told


class _Block(nn.Module):
    """Attention and MLP, each shifted, scaled and gated by what is asked of the cell."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.modulate = _modulation(width, 6)

    def forward(self, states: Tensor, asked: Tensor) -> Tensor:
        """[n, cells, W]."""
        parts = self.modulate(asked).chunk(6, -1)
        inner = self.norm(states) * (1 + parts[1]) + parts[0]
        mixed, _ = self.attention(inner, inner, inner, need_weights=False)
        states = states + parts[2] * mixed
        inner = self.norm(states) * (1 + parts[4]) + parts[3]
        changed: Tensor = states + parts[5] * self.narrow(gelu(self.widen(inner)))
        return changed


def noised(pixels: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """Pixels [n, cells, values] with noise at levels [n]: the cosine schedule (2102.09672)."""
    share = torch.cos((times.float() + 1) / (TIMES + 1) * math.pi / 2).square()
    kept = share.to(pixels.device)[:, None, None]
    return kept.sqrt() * pixels + (1 - kept).sqrt() * noise


def _modulation(width: int, parts: int) -> nn.Linear:
    linear = nn.Linear(width, parts * width)
    nn.init.normal_(linear.weight, std=SMALL)
    nn.init.zeros_(linear.bias)
    return linear


def _waves(times: Tensor, width: int) -> Tensor:
    """[n, width] sines and cosines of times [n]."""
    half = -(-width // 2)
    rates = torch.exp(-math.log(10_000) * torch.arange(half, device=times.device) / half)
    angles = times.float()[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width]
