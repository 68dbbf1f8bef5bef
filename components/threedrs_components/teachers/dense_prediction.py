"""Parts of the dense prediction heads (DPT) that VGGT and Depth Anything 3 have.

Attribute names are those of the released state dicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

OUT_HIDDEN = 32
"""Channels before the last convolution."""
POSITION_BASE = 100.0
POSITION_RATIO = 0.1


class ResidualUnit(nn.Module):
    """Two convolutions, each behind a ReLU, around a skip path."""

    def __init__(self, width: int, rectified_skip: bool) -> None:
        """`rectified_skip`: the skip adds relu(x), not x."""
        super().__init__()
        self.rectified_skip = rectified_skip
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, width, h, w] -> the same shape."""
        rectified = F.relu(x)
        skip = rectified if self.rectified_skip else x
        return skip + cast(Tensor, self.conv2(F.relu(self.conv1(rectified))))


class Fusion(nn.Module):
    """Adds a finer map to a coarser one, refines and enlarges the sum."""

    def __init__(self, width: int, has_finer: bool, rectified_skip: bool) -> None:
        super().__init__()
        self.out_conv = nn.Conv2d(width, width, 1)
        if has_finer:
            self.resConfUnit1 = ResidualUnit(width, rectified_skip)
        self.resConfUnit2 = ResidualUnit(width, rectified_skip)

    def forward(self, x: Tensor, finer: Tensor | None, size: tuple[int, int]) -> Tensor:
        """[N, width, h, w] -> [N, width, *size]."""
        if finer is not None:
            x = x + self.resConfUnit1(finer)
        x = enlarge(self.resConfUnit2(x), size)
        out: Tensor = self.out_conv(x)
        return out


def projections(width: int, channels: Sequence[int]) -> nn.ModuleList:
    """Of four layers of tokens to maps of so many channels, fine to coarse."""
    return nn.ModuleList(nn.Conv2d(width, size, 1) for size in channels)


def resizers(channels: Sequence[int]) -> nn.ModuleList:
    """Bring four maps of one size to 4, 2, 1 and 1/2 times that."""
    return nn.ModuleList(
        [
            nn.ConvTranspose2d(channels[0], channels[0], 4, 4),
            nn.ConvTranspose2d(channels[1], channels[1], 2, 2),
            nn.Identity(),
            nn.Conv2d(channels[3], channels[3], 3, 2, padding=1),
        ]
    )


def pyramid(
    layers: Iterable[Tensor],
    projects: nn.ModuleList,
    resize_layers: nn.ModuleList,
    grid: tuple[int, int],
    aspect: float,
) -> list[Tensor]:
    """Four layers of tokens [N, rows * columns, width] as maps [N, channels, h, w]."""
    maps = []
    for tokens, project, resize in zip(layers, projects, resize_layers, strict=True):
        x = project(torch.unflatten(tokens.transpose(1, 2), 2, grid))
        maps.append(resize(add_positions(x, aspect)))
    return maps


def fused(maps: Sequence[Tensor], fusions: Sequence[Fusion]) -> Tensor:
    """Four maps [N, width, h, w], fine to coarse -> [N, width, 2h, 2w] of the finest."""
    x: Tensor | None = None
    for number in (3, 2, 1, 0):
        level = maps[number]
        finer = maps[number - 1].shape[-2:] if number else [2 * s for s in level.shape[-2:]]
        size = (finer[0], finer[1])
        fusion = fusions[number]
        x = fusion(level, None, size) if x is None else fusion(x, level, size)
    assert x is not None
    return x


def enlarge(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear interpolation whose corner samples stay in the corners."""
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


def add_positions(x: Tensor, aspect: float) -> Tensor:
    """Add a faint sine-cosine code of the (x, y) place in the picture to [N, channels, h, w]."""
    channels, height, width = x.shape[1:]
    diagonal = (aspect**2 + 1) ** 0.5
    reach_x, reach_y = aspect / diagonal * (width - 1) / width, (height - 1) / height / diagonal
    across = _sines(torch.linspace(-reach_x, reach_x, width, device=x.device), channels // 2)
    down = _sines(torch.linspace(-reach_y, reach_y, height, device=x.device), channels // 2)
    code = torch.cat(
        [
            across.T[:, None, :].expand(-1, height, -1),
            down.T[:, :, None].expand(-1, -1, width),
        ]
    )
    return x + POSITION_RATIO * code.to(x.dtype)


def _sines(places: Tensor, channels: int) -> Tensor:
    """[n] -> [n, channels]: sines, then cosines."""
    steps = torch.arange(channels // 2, device=places.device) / (channels / 2)
    angles = places[:, None] * POSITION_BASE**-steps
    return torch.cat([angles.sin(), angles.cos()], 1)
