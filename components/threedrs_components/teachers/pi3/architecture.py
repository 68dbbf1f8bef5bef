"""Widths of a Pi3, and of the released one. No torch."""

from __future__ import annotations

from dataclasses import dataclass

from threedrs_components.teachers.vggt.architecture import VGGTArchitecture

PAIRS = "pairs of decoder blocks"
"""What its layers are, in messages."""


@dataclass(frozen=True)
class TrunkSizes:
    """Widths of what makes the features. The defaults are the released model's."""

    encoder: VGGTArchitecture
    """Of the DINOv2 encoder, whose width and heads are the decoder's too."""
    depth: int = 36
    """Blocks of the decoder, inside frames and over all of them by turns."""
    registers: int = 5
    """Tokens before the patches of every frame."""
    mlp_ratio: float = 4.0


@dataclass(frozen=True)
class HeadSizes:
    """Widths of one head's own decoder. The defaults are the released ones."""

    width: int = 1024
    heads: int = 16
    depth: int = 5
    mlp_ratio: float = 4.0
    out: int = 1024


PI3 = TrunkSizes(
    VGGTArchitecture(
        image_size=518, patch_size=14, embed_dim=1024, heads=16, patch_embed_depth=24, mlp_ratio=4.0
    )
)
"""The widths of yyfz233/Pi3."""
POINT, CAMERA = HeadSizes(), HeadSizes(out=512)
"""Those of its heads; that for confidence is as the one for points."""
