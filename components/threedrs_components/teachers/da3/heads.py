"""Heads of Depth Anything 3: depth and rays by two dense chains, cameras by one small decoder.

Attribute names are those of the released state dict.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from threedrs_components.teachers.da3.architecture import DA3Architecture, DenseSizes
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

RAY_WIDTH = 6
"""Direction and centre."""
LEVELS = 4
"""Of which the ray chain has its own last layers at each; only those of the finest are used."""
POSE_WIDTH = 9
ENCODER_DEPTH, ENCODER_HEADS = 4, 16


class ChannelsLast(nn.Module):
    """[N, channels, h, w] -> [N, h, w, channels]."""

    def forward(self, x: Tensor) -> Tensor:
        """Channels last."""
        return x.permute(0, 2, 3, 1)


class ChannelsFirst(nn.Module):
    """[N, h, w, channels] -> [N, channels, h, w]."""

    def forward(self, x: Tensor) -> Tensor:
        """Channels first."""
        return x.permute(0, 3, 1, 2)


class DualScratch(nn.Module):
    """The convolutional half of the head: one chain for depth, one ("aux") for rays."""

    def __init__(self, width: int, channels: Sequence[int]) -> None:
        super().__init__()
        half = width // 2
        for number, size in enumerate(channels, 1):
            projection = nn.Conv2d(size, width, 3, padding=1, bias=False)
            self.add_module(f"layer{number}_rn", projection)
        for chain in ("", "_aux"):
            for number in range(1, LEVELS + 1):
                fusion = Fusion(width, has_finer=number < LEVELS, rectified_skip=False)
                self.add_module(f"refinenet{number}{chain}", fusion)
        self.output_conv1 = _convolution(width, half)
        self.output_conv2 = nn.Sequential(
            _convolution(half, OUT_HIDDEN), nn.ReLU(), nn.Conv2d(OUT_HIDDEN, 2, 1)
        )
        self.output_conv1_aux = nn.ModuleList(_ray_neck(width) for _ in range(LEVELS))
        shared = nn.LayerNorm(OUT_HIDDEN)
        self.output_conv2_aux = nn.ModuleList(_ray_end(half, shared) for _ in range(LEVELS))

    def fused(self, maps: Sequence[Tensor], chain: str) -> Tensor:
        """Four maps, fine to coarse -> [N, width, 2h, 2w] of the finest, by one chain."""
        numbers = range(1, LEVELS + 1)
        levels = [getattr(self, f"layer{n}_rn")(x) for n, x in zip(numbers, maps, strict=True)]
        return fused(levels, [getattr(self, f"refinenet{n}{chain}") for n in numbers])


class DualDPT(nn.Module):
    """Four layers of tokens to depth and its confidence, and to rays and theirs."""

    def __init__(self, architecture: DA3Architecture, sizes: DenseSizes) -> None:
        super().__init__()
        width, channels = 2 * architecture.embed_dim, sizes.channels
        self.patch_size = architecture.patch_size
        self.norm = nn.LayerNorm(width)
        self.projects, self.resize_layers = projections(width, channels), resizers(channels)
        self.scratch = DualScratch(sizes.features, channels)

    def depth(self, layers: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Depth and its confidence, [N, H, W] each, of tokens [N, rows * columns, 2 * C]."""
        maps, aspect = self._pyramid(layers, size)
        x = enlarge(self.scratch.output_conv1(self.scratch.fused(maps, "")), size)
        raw = self.scratch.output_conv2(add_positions(x, aspect))
        return raw[:, 0].exp(), 1 + raw[:, 1].exp()

    def rays(self, layers: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Rays [N, 8 * rows, 8 * columns, 6] and their confidence [N, 8 * rows, 8 * columns]."""
        maps, aspect = self._pyramid(layers, size)
        x = self.scratch.output_conv1_aux[-1](self.scratch.fused(maps, "_aux"))
        raw = self.scratch.output_conv2_aux[-1](add_positions(x, aspect))
        return raw[:, :RAY_WIDTH].permute(0, 2, 3, 1), 1 + raw[:, RAY_WIDTH].exp()

    def _pyramid(
        self, layers: Sequence[Tensor], size: tuple[int, int]
    ) -> tuple[list[Tensor], float]:
        grid, aspect = (size[0] // self.patch_size, size[1] // self.patch_size), size[1] / size[0]
        tokens = (self.norm(each) for each in layers)
        return pyramid(tokens, self.projects, self.resize_layers, grid, aspect), aspect


class CameraDecoder(nn.Module):
    """A view's camera token to its pose."""

    def __init__(self, architecture: DA3Architecture) -> None:
        super().__init__()
        width = 2 * architecture.embed_dim
        self.backbone = nn.Sequential(
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.fc_t = nn.Linear(width, 3)
        self.fc_qvec = nn.Linear(width, 4)
        self.fc_fov = nn.Sequential(nn.Linear(width, 2), nn.ReLU())

    def forward(self, tokens: Tensor) -> Tensor:
        """[..., 2 * C] camera tokens -> [..., 9] camera to world (see `poses`), OpenCV axes."""
        x = self.backbone(tokens)
        return torch.cat([self.fc_t(x), self.fc_qvec(x), self.fc_fov(x)], -1)


class CameraEncoder(nn.Module):
    """The tensors of the encoder of known poses, by name and shape; no feature needs it."""

    def __init__(self, architecture: DA3Architecture) -> None:
        super().__init__()
        width = architecture.embed_dim
        self.pose_branch = Mlp(POSE_WIDTH, width // 2, width)
        self.token_norm = nn.LayerNorm(width)
        self.trunk = nn.Sequential(*(Block(width, ENCODER_HEADS) for _ in range(ENCODER_DEPTH)))
        self.trunk_norm = nn.LayerNorm(width)


def _convolution(width: int, out: int) -> nn.Conv2d:
    return nn.Conv2d(width, out, 3, padding=1)


def _ray_neck(width: int) -> nn.Sequential:
    """Five convolutions, and nothing between them."""
    half = width // 2
    pairs = ((width, half), (half, width), (width, half), (half, width), (width, half))
    return nn.Sequential(*(_convolution(*pair) for pair in pairs))


def _ray_end(width: int, norm: nn.LayerNorm) -> nn.Sequential:
    return nn.Sequential(
        _convolution(width, OUT_HIDDEN),
        ChannelsLast(),
        norm,
        ChannelsFirst(),
        nn.ReLU(),
        nn.Conv2d(OUT_HIDDEN, RAY_WIDTH + 1, 1),
    )
