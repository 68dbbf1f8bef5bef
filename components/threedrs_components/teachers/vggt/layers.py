"""VGGT's per-frame ViT and its alternating aggregator.

Attribute names are those of the released state dict, so its keys need no translation.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from threedrs_components.teachers.pixels import normalised
from threedrs_components.teachers.transformer import Block, PatchProjection, Rotation
from threedrs_components.teachers.vggt.architecture import VGGTArchitecture

VIT_EPS = 1e-6
FRAMES_PER_CHUNK = 8
"""Frames that the ViT sees at once when no gradient is kept; it treats each frame alone."""


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
