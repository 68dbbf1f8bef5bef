"""Widths of Depth Anything 3, of the released sizes and any like them. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Four = tuple[int, int, int, int]
Reference = Literal["first", "middle", "balanced"]
"""Which view of a scene the world is told from: its first frame (the paper's benchmarks), the one
in the middle of the list (advised for videos), or the one whose class token is the least extreme
(the released code)."""


@dataclass(frozen=True)
class DA3Architecture:
    """Widths of a trunk, which decide those of the cameras' decoder too."""

    embed_dim: int
    """C."""
    heads: int
    depth: int
    """Blocks."""
    start: int
    """First block with 2D rope, normalised queries and keys, and a camera token; from here on odd
    blocks look at all frames."""
    hidden: int
    """Inside the feed-forward layers."""
    gated: bool = False
    """Feed-forward by SwiGLU, else by GELU."""
    image_size: int = 518
    """Side of the square frames that the position table was made for."""
    patch_size: int = 14

    @property
    def side(self) -> int:
        """Rows and columns of the position table."""
        return self.image_size // self.patch_size

    def is_global(self, block: int) -> bool:
        """Whether a block looks at all frames together."""
        return block >= self.start and block % 2 == 1


@dataclass(frozen=True)
class DenseSizes:
    """Widths of the head for depth and rays."""

    features: int
    channels: Four
    """Of its four maps, fine to coarse."""
    layers: Four
    """Blocks whose outputs it reads."""


class Size(NamedTuple):
    """One released model."""

    trunk: DA3Architecture
    dense: DenseSizes


WIDE = (256, 512, 1024, 1024)
SIZES = {
    "small": Size(
        DA3Architecture(384, 6, 12, 4, 1536),
        DenseSizes(64, (48, 96, 192, 384), (5, 7, 9, 11)),
    ),
    "base": Size(
        DA3Architecture(768, 12, 12, 4, 3072),
        DenseSizes(128, (96, 192, 384, 768), (5, 7, 9, 11)),
    ),
    "large": Size(
        DA3Architecture(1024, 16, 24, 8, 4096),
        DenseSizes(256, WIDE, (11, 15, 19, 23)),
    ),
    "giant": Size(
        DA3Architecture(1536, 24, 40, 13, 4096, gated=True),
        DenseSizes(256, WIDE, (19, 27, 33, 39)),
    ),
}
"""DA3-SMALL, DA3-BASE, DA3-LARGE-1.1 and DA3-GIANT-1.1."""
WIDEST_FREE = 768
FREE, NON_COMMERCIAL = "Apache-2.0", "CC BY-NC 4.0"


def licence_of(width: int) -> str:
    """Terms of the released weights of a width: the small and the base model are free."""
    return FREE if width <= WIDEST_FREE else NON_COMMERCIAL


def usual_layers(depth: int) -> Four:
    """Blocks that the head reads: as released, or four of the later half, equally far apart."""
    for size in SIZES.values():
        if size.trunk.depth == depth:
            return size.dense.layers
    a, b, c, d = (max(0, round(depth / 2 - 1 + number * depth / 6)) for number in range(4))
    return a, b, c, d
