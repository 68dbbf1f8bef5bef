"""Widths of a masked autoencoder, for those that are trained here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from threedrs_platform.config import Config


class MAEArchitecture(Config):
    """Widths of a masked autoencoder. The defaults are the micro model."""

    image_size: PositiveInt = 64
    """Pixels of a frame's side."""
    patch_size: PositiveInt = 8
    """Pixels of a patch's side."""
    hidden_size: PositiveInt = 128
    """Channels of the encoder: of its features."""
    layers: PositiveInt = 4
    """Blocks of the encoder."""
    heads: PositiveInt = 4
    """Attention heads of the encoder."""
    mlp_ratio: PositiveFloat = 2.0
    """Of encoder and decoder."""
    decoder_hidden_size: PositiveInt = 64
    """Channels of the decoder, which fills in what is hidden and is not used afterwards."""
    decoder_layers: PositiveInt = 1
    """Blocks of the decoder."""
    decoder_heads: PositiveInt = 4
    """Attention heads of the decoder."""
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.625
    """Share of patches hidden in pretraining."""

    @model_validator(mode="after")
    def _widths_fit(self) -> MAEArchitecture:
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} is no multiple of patch_size {self.patch_size}"
            )
        for name, width, heads in (
            ("hidden_size", self.hidden_size, self.heads),
            ("decoder_hidden_size", self.decoder_hidden_size, self.decoder_heads),
        ):
            if width % heads:
                raise ValueError(f"{name} {width} is no multiple of its {heads} heads")
        return self
