"""Widths of a masked autoencoder, for those that are trained here."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from threedrs_platform.config import Config


class MAEArchitecture(Config):
    """Widths of a masked autoencoder. The defaults are the micro model."""

    image_size: PositiveInt = 64
    patch_size: PositiveInt = 8
    hidden_size: PositiveInt = 128
    layers: PositiveInt = 4
    heads: PositiveInt = 4
    mlp_ratio: PositiveFloat = 2.0
    """Of encoder and decoder."""
    decoder_hidden_size: PositiveInt = 64
    decoder_layers: PositiveInt = 1
    decoder_heads: PositiveInt = 4
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
