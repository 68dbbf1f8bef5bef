"""The trunk of Depth Anything 3, and how it chooses the view that the world is told from.

Written from the architecture's description; attribute names are those of the released state dict.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from threedrs_components.teachers.da3.architecture import DA3Architecture, Reference
from threedrs_components.teachers.pixels import normalised
from threedrs_components.teachers.transformer import Block, PatchProjection, Rotation

BLOCK_EPS = 1e-6
"""Of the LayerNorms in blocks; those of queries, keys and the output have torch's own 1e-5."""
SIZE_OFFSET = 0.1
"""Added to the grid before it is divided by the position table's side, as DINOv2 does."""
FEWEST_TO_CHOOSE = 3
"""Views from which on a reference is chosen; of fewer it is the first."""
LEAST_RANGE = 1e-8


class Level(NamedTuple):
    """What one block gives."""

    patches: Tensor
    """[B, S, rows * columns, 2 * C]: local half as it is, global half normalised."""
    camera: Tensor
    """[B, S, 2 * C] both halves of the camera token as they are."""


class Trunk(nn.Module):
    """DINOv2 without registers, some of whose later blocks look at all frames of a scene."""

    def __init__(self, architecture: DA3Architecture) -> None:
        super().__init__()
        width, heads = architecture.embed_dim, architecture.heads
        self.architecture = architecture
        self.patch_embed = PatchProjection(architecture.patch_size, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        # Slot 0 belongs to a scene's reference view, slot 1 to all others.
        self.camera_token = nn.Parameter(torch.empty(1, 2, width).normal_(std=0.02))
        table = torch.empty(1, 1 + architecture.side**2, width)
        self.pos_embed = nn.Parameter(table.normal_(std=0.02))
        self.blocks = nn.ModuleList(
            Block(
                width,
                heads,
                architecture.hidden / width,
                qk_norm=index >= architecture.start,
                eps=BLOCK_EPS,
                gated=architecture.gated,
            )
            for index in range(architecture.depth)
        )
        self.norm = nn.LayerNorm(width)

    def positions(self, rows: int, columns: int) -> Tensor:
        """Position embedding [1, 1 + rows * columns, C] for a grid of any size.

        Interpolated by scale factors, which also decide where the table is sampled.
        """
        side = self.architecture.side
        if (rows, columns) == (side, side):
            return self.pos_embed
        grid = torch.unflatten(self.pos_embed[:, 1:], 1, (side, side)).permute(0, 3, 1, 2)
        scales = ((rows + SIZE_OFFSET) / side, (columns + SIZE_OFFSET) / side)
        grid = F.interpolate(grid.float(), scale_factor=scales, mode="bicubic", align_corners=False)
        return torch.cat([self.pos_embed[:, :1], grid.flatten(2).transpose(1, 2)], 1)

    def rotations(self, rows: int, columns: int, views: int) -> tuple[Rotation, Rotation]:
        """Positions inside a frame, and over all frames, where all patches share one place."""
        head_dim = self.architecture.embed_dim // self.architecture.heads
        patches = torch.ones(rows * columns, 2, dtype=torch.long)
        within = Rotation.of_grid(rows, columns, 1, head_dim)
        across = Rotation.of_patches(patches, 1, head_dim).repeated(views)
        device = self.cls_token.device
        return within.to(device), across.to(device)

    def forward(
        self, images: Tensor, layers: Iterable[int], reference: Reference
    ) -> tuple[dict[int, Level], Tensor]:
        """Run all blocks, keep the chosen ones.

        Args:
            images: [B, S, 3, H, W] float32 in [0, 1], sides multiples of the patch size.
            layers: block indices to keep, 0-based.
            reference: how the reference view is chosen.

        Returns:
            What each layer gives, and the index [B] of every scene's reference view.
        """
        wanted, start = set(layers), self.architecture.start
        scenes, views = images.shape[:2]
        rows, columns = (size // self.architecture.patch_size for size in images.shape[-2:])
        within, across = self.rotations(rows, columns, views)
        x = self.patch_embed(normalised(images.flatten(0, 1)))
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        x = local = x + self.positions(rows, columns)
        chosen = torch.zeros(scenes, dtype=torch.long, device=x.device)
        kept = {}
        for index, block in enumerate(self.blocks):
            if index == start - 1:
                tokens = torch.unflatten(x[:, 0], 0, (scenes, views))
                chosen = reference_views(tokens, reference)
            if index == start:
                # A global first block keeps the tokens that it was given as its local half.
                x = local = torch.cat([self._camera_tokens(chosen, views), x[:, 1:]], 1)
            if self.architecture.is_global(index):
                x = block(x.reshape(scenes, -1, x.shape[-1]), across).reshape(local.shape)
            else:
                x = local = block(x, within if index >= start else None)
            if index in wanted:
                kept[index] = self._level(local, x, (scenes, views))
        return kept, chosen

    def _camera_tokens(self, chosen: Tensor, views: int) -> Tensor:
        """[B * S, 1, C]: slot 0 for each scene's reference view, slot 1 for the rest."""
        is_other = torch.arange(views, device=chosen.device) != chosen[:, None]
        return self.camera_token[0, is_other.long()].flatten(0, 1).unsqueeze(1)

    def _level(self, local: Tensor, x: Tensor, shape: tuple[int, int]) -> Level:
        patches = torch.cat([local[:, 1:], self.norm(x[:, 1:])], -1)
        camera = torch.cat([local[:, 0], x[:, 0]], -1)
        return Level(
            torch.unflatten(patches.float(), 0, shape), torch.unflatten(camera.float(), 0, shape)
        )


def reference_views(tokens: Tensor, reference: Reference) -> Tensor:
    """Index [B] of the view that tells the world, from the class tokens [B, S, C] of S views.

    "balanced" takes the view in the middle of three ranges: how alike it is to the others, how
    long its token is, and how far the token's channels vary.
    """
    scenes, views = tokens.shape[:2]
    if views < FEWEST_TO_CHOOSE or reference == "first":
        return torch.zeros(scenes, dtype=torch.long, device=tokens.device)
    if reference == "middle":
        return torch.full((scenes,), views // 2, device=tokens.device)
    tokens = tokens.float()
    lengths = tokens.norm(dim=-1)
    directions = tokens / lengths[..., None]
    with torch.autocast(tokens.device.type, enabled=False):  # ranges may be a few roundings wide
        cosines = directions @ directions.mT
    alike = (cosines - torch.eye(views, device=tokens.device)).sum(-1) / (views - 1)
    measures = torch.stack([alike, lengths, directions.var(-1)])
    least, most = measures.amin(-1, keepdim=True), measures.amax(-1, keepdim=True)
    scaled = (measures - least) / (most - least + LEAST_RANGE)
    return (scaled - 0.5).abs().sum(0).argmin(-1)
