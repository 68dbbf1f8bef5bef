"""VGGT's transformer parts: 2D rope, attention, block, per-frame ViT and alternating aggregator.

Attribute names are those of the released state dict, so its keys need no translation.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from threedrs_components.teachers.pixels import normalised
from threedrs_components.teachers.vggt.architecture import VGGTArchitecture

ROPE_BASE = 100.0
VIT_EPS = 1e-6
FRAMES_PER_CHUNK = 8
"""Frames that the ViT sees at once when no gradient is kept; it treats each frame alone."""


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
        positions = torch.cartesian_prod(down, across)
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
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads, qk_norm)
        self.ls1 = LayerScale(width, scale)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, round(width * mlp_ratio))
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


class VisionTransformer(nn.Module):
    """DINOv2 with registers: one frame in, normalised patch tokens out."""

    def __init__(self, architecture: VGGTArchitecture) -> None:
        super().__init__()
        width = architecture.embed_dim
        self.patch_size = architecture.patch_size
        self.side = architecture.image_size // architecture.patch_size
        self.patch_embed = PatchProjection(architecture.patch_size, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + self.side**2, width).normal_(std=0.02))
        self.register_tokens = nn.Parameter(
            torch.empty(1, architecture.num_registers, width).normal_(std=0.02)
        )
        self.mask_token = nn.Parameter(torch.zeros(1, width))
        self.blocks = nn.ModuleList(
            Block(width, architecture.heads, architecture.mlp_ratio, eps=VIT_EPS)
            for _ in range(architecture.patch_embed_depth)
        )
        self.norm = nn.LayerNorm(width, eps=VIT_EPS)
        # Part of the released weights (DINOv2's masked training), without use in VGGT.
        self.mask_token.requires_grad_(False)

    def positions(self, rows: int, columns: int) -> Tensor:
        """Position embedding [1, 1 + rows * columns, C] for a grid of any size."""
        if (rows, columns) == (self.side, self.side):
            return self.pos_embed
        grid = self.pos_embed[:, 1:].reshape(1, self.side, self.side, -1).permute(0, 3, 1, 2)
        grid = F.interpolate(
            grid.float(), (rows, columns), mode="bicubic", antialias=True, align_corners=False
        )
        return torch.cat([self.pos_embed[:, :1], grid.flatten(2).transpose(1, 2)], 1)

    def forward(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] normalised -> [N, rows * columns, C]."""
        rows, columns = (size // self.patch_size for size in images.shape[-2:])
        x = self.patch_embed(images)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        x = x + self.positions(rows, columns)
        registers = self.register_tokens.expand(len(x), -1, -1)
        x = torch.cat([x[:, :1], registers, x[:, 1:]], 1)
        for block in self.blocks:
            x = block(x)
        patches: Tensor = self.norm(x)[:, 1 + registers.shape[1] :]
        return patches


class Aggregator(nn.Module):
    """Alternates attention inside each frame with attention over all frames of the scene."""

    def __init__(self, architecture: VGGTArchitecture, scale: float = 0.01) -> None:
        super().__init__()
        width, heads = architecture.embed_dim, architecture.heads
        self.depth = architecture.depth
        self.head_dim = width // heads
        self.patch_size = architecture.patch_size
        self.patch_start = 1 + architecture.num_registers
        self.patch_embed = VisionTransformer(architecture)
        # Slot 0 belongs to the scene's first frame, slot 1 to all others.
        self.camera_token = nn.Parameter(torch.empty(1, 2, 1, width).normal_(std=0.02))
        self.register_token = nn.Parameter(
            torch.empty(1, 2, architecture.num_registers, width).normal_(std=0.02)
        )

        def blocks() -> nn.ModuleList:
            ratio = architecture.mlp_ratio
            return nn.ModuleList(
                Block(width, heads, ratio, qk_norm=True, scale=scale) for _ in range(self.depth)
            )

        self.frame_blocks, self.global_blocks = blocks(), blocks()

    def patch_tokens(self, frames: Tensor) -> Tensor:
        """[N, 3, H, W] in [0, 1] -> [N, rows * columns, C], in chunks when no gradient is kept."""
        frames = normalised(frames)
        if torch.is_grad_enabled():
            patches: Tensor = self.patch_embed(frames)
            return patches
        return torch.cat(
            [self.patch_embed(chunk) for chunk in torch.split(frames, FRAMES_PER_CHUNK)]
        )

    def forward(self, images: Tensor, layers: Iterable[int]) -> dict[int, Tensor]:
        """Run all blocks, keep the chosen ones.

        Args:
            images: [B, S, 3, H, W] float32 in [0, 1], sides multiples of the patch size.
            layers: block indices to keep, 0-based.

        Returns:
            Per layer [B, S, specials + rows * columns, 2 * C]: frame half, then global half.
        """
        wanted = set(layers)
        scenes, views = images.shape[:2]
        rows, columns = (size // self.patch_size for size in images.shape[-2:])
        patches = self.patch_tokens(images.flatten(0, 1))
        specials = torch.cat([self.camera_token, self.register_token], 2)
        x = torch.cat([_per_view(specials, scenes, views), patches], 1)
        within = Rotation.of_grid(rows, columns, self.patch_start, self.head_dim).to(x.device)
        across = within.repeated(views)
        kept = {}
        for index in range(self.depth):
            frame = x = self.frame_blocks[index](x, within)
            x = self.global_blocks[index](x.reshape(scenes, -1, x.shape[-1]), across)
            x = x.reshape(frame.shape)
            if index in wanted:
                kept[index] = torch.unflatten(torch.cat([frame, x], -1), 0, (scenes, views))
        return kept


def _per_view(token: Tensor, scenes: int, views: int) -> Tensor:
    """[1, 2, n, C] -> [scenes * views, n, C]: slot 0 for each first view, slot 1 for the rest."""
    first, others = token[:, :1], token[:, 1:].expand(-1, views - 1, -1, -1)
    return torch.cat([first, others], 1).expand(scenes, -1, -1, -1).flatten(0, 1)
