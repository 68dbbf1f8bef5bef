"""VGGT's heads: camera refinement, the released DPT head, and a cell head for micro widths."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from threedrs_components.teachers.dense_prediction import (
    OUT_HIDDEN,
    Fusion,
    add_positions,
    enlarge,
    fused,
    projections,
    pyramid,
    resizers,
)
from threedrs_components.teachers.transformer import Block, Mlp
from threedrs_components.teachers.vggt.architecture import VGGTArchitecture

POSE_WIDTH = 9
"""Translation 3, quaternion 4 (x, y, z, w), field of view 2 (vertical, horizontal)."""


class CameraHead(nn.Module):
    """Guesses every frame's pose from its camera token, then refines the guess in rounds."""

    def __init__(self, architecture: VGGTArchitecture, scale: float = 0.01) -> None:
        super().__init__()
        width = 2 * architecture.embed_dim
        self.rounds = architecture.camera_rounds
        self.token_norm = nn.LayerNorm(width)
        self.empty_pose_tokens = nn.Parameter(torch.zeros(1, 1, POSE_WIDTH))
        self.embed_pose = nn.Linear(POSE_WIDTH, width)
        self.poseLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 3 * width))
        self.adaln_norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.trunk = nn.Sequential(
            *(
                Block(width, architecture.heads, architecture.mlp_ratio, scale=scale)
                for _ in range(architecture.camera_depth)
            )
        )
        self.trunk_norm = nn.LayerNorm(width)
        self.pose_branch = Mlp(width, width // 2, POSE_WIDTH)

    def forward(self, tokens: Tensor) -> Tensor:
        """[B, S, specials + patches, 2 * C] -> [B, S, 9], world to camera, OpenCV axes."""
        x = self.token_norm(tokens[:, :, 0])
        known = self.empty_pose_tokens.expand(*x.shape[:2], -1)
        pose = torch.zeros_like(known)
        for _ in range(self.rounds):
            shift, scale, gate = self.poseLN_modulation(self.embed_pose(known)).chunk(3, -1)
            refined = x + gate * (self.adaln_norm(x) * (1 + scale) + shift)
            pose = pose + self.pose_branch(self.trunk_norm(self.trunk(refined)))
            known = pose.detach()
        return torch.cat([pose[..., :7], pose[..., 7:].relu()], -1)


class DenseOutput(nn.Module):
    """What both dense heads share: the value's activation and its confidence."""

    layers: tuple[int, ...]
    """Aggregator blocks whose outputs the head reads."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        """1 for depth, 3 for points; one more channel carries the confidence."""

    def activated(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """[..., channels + 1] -> value [..., channels], confidence [...] above 1."""
        value, confidence = raw[..., :-1], 1 + raw[..., -1].exp()
        if self.channels == 1:
            return value.exp(), confidence
        return value.sign() * value.abs().expm1(), confidence


class CellHead(DenseOutput):
    """One linear map from a token to the square of cells inside its patch. Cheap, for micro."""

    def __init__(self, architecture: VGGTArchitecture, channels: int) -> None:
        super().__init__(channels)
        width = 2 * architecture.embed_dim
        self.layers = (architecture.depth - 1,)
        self.cells = architecture.cells_per_patch
        self.norm = nn.LayerNorm(width)
        self.cell_out = nn.Linear(width, self.cells**2 * (channels + 1))

    def forward(
        self, features: Mapping[int, Tensor], patch_start: int, size: tuple[int, int], patch: int
    ) -> tuple[Tensor, Tensor]:
        """Value [B, S, rows * cells, columns * cells, channels] and its confidence."""
        rows, columns = size[0] // patch, size[1] // patch
        tokens = features[self.layers[0]][:, :, patch_start:]
        raw = self.cell_out(self.norm(tokens))
        raw = raw.unflatten(-1, (self.cells, self.cells, -1)).unflatten(2, (rows, columns))
        raw = raw.permute(0, 1, 2, 4, 3, 5, 6).flatten(4, 5).flatten(2, 3)
        return self.activated(raw)


class Scratch(nn.Module):
    """The convolutional half of a DPT head; without `out` it ends in maps of features."""

    def __init__(self, architecture: VGGTArchitecture, out: int | None) -> None:
        super().__init__()
        width = architecture.dpt_features
        for number, channels in enumerate(architecture.dpt_channels, 1):
            self.add_module(
                f"layer{number}_rn", nn.Conv2d(channels, width, 3, padding=1, bias=False)
            )
            # The released weights were trained with an in-place ReLU on a unit's own input.
            fusion = Fusion(width, has_finer=number < 4, rectified_skip=True)
            self.add_module(f"refinenet{number}", fusion)
        if out is None:
            self.output_conv1 = nn.Conv2d(width, width, 3, padding=1)
            return
        self.output_conv1 = nn.Conv2d(width, width // 2, 3, padding=1)
        self.output_conv2 = nn.Sequential(
            nn.Conv2d(width // 2, OUT_HIDDEN, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(OUT_HIDDEN, out, 1),
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Four maps, fine to coarse -> [N, width / 2, 2h, 2w] of the finest."""
        maps = [getattr(self, f"layer{number}_rn")(x) for number, x in enumerate(maps, 1)]
        x = fused(maps, [getattr(self, f"refinenet{number}") for number in (1, 2, 3, 4)])
        out: Tensor = self.output_conv1(x)
        return out


class DPTHead(DenseOutput):
    """Dense prediction transformer head: four layers of tokens to one value per pixel."""

    def __init__(self, architecture: VGGTArchitecture, channels: int | None) -> None:
        super().__init__(channels or 0)
        width, sizes = 2 * architecture.embed_dim, architecture.dpt_channels
        self.layers = architecture.dpt_layers
        self.norm = nn.LayerNorm(width)
        self.projects, self.resize_layers = projections(width, sizes), resizers(sizes)
        self.scratch = Scratch(architecture, None if channels is None else channels + 1)

    def forward(
        self, features: Mapping[int, Tensor], patch_start: int, size: tuple[int, int], patch: int
    ) -> tuple[Tensor, Tensor]:
        """Value [B, S, H, W, channels] and its confidence [B, S, H, W]."""
        scenes, views = next(iter(features.values())).shape[:2]
        grid = (size[0] // patch, size[1] // patch)
        aspect = size[1] / size[0]
        tokens = (self.norm(features[i][:, :, patch_start:].flatten(0, 1)) for i in self.layers)
        maps = pyramid(tokens, self.projects, self.resize_layers, grid, aspect)
        x = add_positions(enlarge(self.scratch(maps), size), aspect)
        raw = self.scratch.output_conv2(x).permute(0, 2, 3, 1)
        return self.activated(raw.unflatten(0, (scenes, views)))
