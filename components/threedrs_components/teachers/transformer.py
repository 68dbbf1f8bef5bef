"""Parts of the vision transformers that several teachers have: 2D rope, attention, block, patches.

Attribute names are those of the released state dicts, so their keys need no translation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROPE_BASE = 100.0


class Rotation:
    """Cosines and sines of 2D rotary positions for one token sequence."""

    def __init__(self, cos: Tensor, sin: Tensor) -> None:
        self.cos, self.sin = cos, sin
        """[N, 2, head_dim / 4]: one row per token, axis (y, x), frequency."""

    @classmethod
    def of_grid(
        cls, rows: int, columns: int, specials: int, head_dim: int, first: int = 1
    ) -> Rotation:
        """Positions (y, x) of a frame: special tokens at 0, patches counted from `first`."""
        down, across = torch.arange(rows) + first, torch.arange(columns) + first
        return cls.of_patches(torch.cartesian_prod(down, across), specials, head_dim)

    @classmethod
    def of_patches(cls, positions: Tensor, specials: int, head_dim: int) -> Rotation:
        """Patches at whole positions (y, x), [N, 2], behind special tokens at 0."""
        positions = torch.cat([torch.zeros(specials, 2, dtype=positions.dtype), positions])
        frequencies = ROPE_BASE ** (-torch.arange(head_dim // 4) / (head_dim // 4))
        angles = positions.float().unsqueeze(-1) * frequencies
        return cls(angles.cos(), angles.sin())

    def repeated(self, times: int) -> Rotation:
        """The same positions for `times` frames in a row: positions do not know the frame."""
        return Rotation(self.cos.repeat(times, 1, 1), self.sin.repeat(times, 1, 1))

    def to(self, device: torch.device) -> Rotation:
        """The same positions on a device."""
        return Rotation(self.cos.to(device), self.sin.to(device))

    def __call__(self, x: Tensor) -> Tensor:
        """Rotate [..., N, head_dim]: first half of the channels by y, second half by x."""
        first, second = torch.unflatten(x, -1, (2, 2, -1)).unbind(-2)
        rotated = (
            first * self.cos - second * self.sin,
            second * self.cos + first * self.sin,
        )
        return torch.stack(rotated, -2).flatten(-3).to(x.dtype)


class Attention(nn.Module):
    """Multi-head self attention, optionally with normalised queries and keys."""

    def __init__(self, width: int, heads: int, qk_norm: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        head_dim = width // heads
        self.q_norm = nn.LayerNorm(head_dim) if qk_norm else nn.Identity()
        self.k_norm = nn.LayerNorm(head_dim) if qk_norm else nn.Identity()
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, rotation: Rotation | None = None) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        query, key = self.q_norm(query), self.k_norm(key)
        if rotation is not None:
            query, key = rotation(query), rotation(key)
        mixed = F.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return projected


class Mlp(nn.Module):
    """Two linear layers around an exact GELU."""

    def __init__(self, width: int, hidden: int, out: int | None = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, out or width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> [..., out]."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class SwiGLU(nn.Module):
    """A linear layer, one half of it gating the other by SiLU, and a linear layer back."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(width, 2 * hidden)
        self.w3 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> [..., width]."""
        gate, value = self.w12(x).chunk(2, -1)
        out: Tensor = self.w3(F.silu(gate) * value)
        return out


class LayerScale(nn.Module):
    """A learned gain per channel."""

    def __init__(self, width: int, initial: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), initial))

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] -> [..., width]."""
        return x * self.gamma


class Block(nn.Module):
    """Pre-norm transformer block with LayerScale."""

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_ratio: float = 4.0,
        *,
        qk_norm: bool = False,
        eps: float = 1e-5,
        scale: float = 1.0,
        gated: bool = False,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads, qk_norm)
        self.ls1 = LayerScale(width, scale)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        hidden = round(width * mlp_ratio)
        self.mlp: nn.Module = SwiGLU(width, hidden) if gated else Mlp(width, hidden)
        self.ls2 = LayerScale(width, scale)

    def forward(self, x: Tensor, rotation: Rotation | None = None) -> Tensor:
        """[B, N, C] -> [B, N, C]."""
        x = x + self.ls1(self.attn(self.norm1(x), rotation))
        out: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return out


class PatchProjection(nn.Module):
    """Cuts frames, or maps of tokens, into patches and projects each one."""

    def __init__(self, patch_size: int, width: int, channels: int = 3) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, patch_size, patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """[N, channels, H, W] -> [N, rows * columns, C]."""
        tokens: Tensor = self.proj(images).flatten(2).transpose(1, 2)
        return tokens
