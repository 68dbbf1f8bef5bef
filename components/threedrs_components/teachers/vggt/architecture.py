"""Widths of a VGGT: of micro ones, and of the released one."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat, PositiveInt, model_validator

from threedrs_platform.config import Config


class VGGTArchitecture(Config):
    """Widths of a VGGT. The defaults are the micro model; `VGGT_1B` is the released one."""

    image_size: PositiveInt = 64
    """Width in pixels that frames are resized to; a multiple of the patch size."""
    patch_size: PositiveInt = 16
    """Pixels of a patch's side."""
    embed_dim: PositiveInt = 64
    """Channels of tokens; features have twice as many, of frame and global block."""
    heads: PositiveInt = 4
    """Attention heads."""
    patch_embed_depth: PositiveInt = 2
    """Blocks of the per-frame ViT that makes the patch tokens."""
    depth: PositiveInt = 2
    """Pairs of one frame block and one global block."""
    mlp_ratio: PositiveFloat = 2.0
    """Channels inside the feed-forward layers, as a multiple of `embed_dim`."""
    num_registers: PositiveInt = 4
    """Register tokens of the ViT, and again of the aggregator."""
    dense_head: Literal["dpt", "cells"] = "cells"
    """How depth and points are read out: DPT as released, or one linear map to cells per token."""
    cells_per_patch: PositiveInt = 2
    """Side of the cell grid that the "cells" head predicts inside one patch."""
    dpt_layers: tuple[int, int, int, int] = (0, 0, 1, 1)
    """Blocks whose outputs the DPT head reads."""
    dpt_features: PositiveInt = 32
    """Channels in which the DPT head fuses its four maps."""
    dpt_channels: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (16, 32, 64, 64)
    """Channels of the four maps that the DPT head reads."""
    camera_depth: PositiveInt = 1
    """Blocks in the trunk of the camera head."""
    camera_rounds: PositiveInt = 2
    """How often the camera head refines its guess."""
    track_head: bool = False
    """Whether the tensors of the released track head belong to the model; nothing uses them."""

    @model_validator(mode="after")
    def _widths_fit(self) -> VGGTArchitecture:
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} is no multiple of patch_size {self.patch_size}"
            )
        if self.embed_dim % (4 * self.heads):
            raise ValueError(
                f"embed_dim {self.embed_dim} over heads {self.heads} must be a multiple of 4, "
                "because 2D rope splits each head into two axes of sine and cosine"
            )
        if not all(0 <= layer < self.depth for layer in self.dpt_layers):
            raise ValueError(f"dpt_layers {self.dpt_layers} must lie in 0..{self.depth - 1}")
        return self


VGGT_1B = VGGTArchitecture(
    image_size=518,
    patch_size=14,
    embed_dim=1024,
    heads=16,
    patch_embed_depth=24,
    depth=24,
    mlp_ratio=4.0,
    dense_head="dpt",
    dpt_layers=(4, 11, 17, 23),
    dpt_features=256,
    dpt_channels=(256, 512, 1024, 1024),
    camera_depth=4,
    camera_rounds=4,
    track_head=True,
)
"""The widths of facebook/VGGT-1B."""
