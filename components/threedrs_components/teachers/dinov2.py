"""DINOv2, with and without registers: a class token, then registers if any, then patches."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import PositiveInt

from threedrs_components.teachers.encoder_config import ImageEncoder, ImageEncoderConfig
from threedrs_platform.config import PLACE, REPORTED

TENSORS = (
    "embeddings.cls_token",
    "embeddings.mask_token",
    "embeddings.patch_embeddings.projection.bias",
    "embeddings.patch_embeddings.projection.weight",
    "embeddings.position_embeddings",
    "layernorm.bias",
    "layernorm.weight",
)
ENCODERS = {
    "dinov2": ImageEncoder(
        "Dinov2Model", ("dinov2",), special_tokens=lambda shape: 1, tensors=TENSORS
    ),
    "dinov2_reg": ImageEncoder(
        "Dinov2WithRegistersModel",
        ("dinov2_with_registers",),
        special_tokens=lambda shape: 1 + int(shape.num_register_tokens),
        tensors=(*TENSORS, "embeddings.register_tokens"),
    ),
}


class DINOv2Config(ImageEncoderConfig):
    """DINOv2: one frame in, 2D features out; with registers, without outlier tokens."""

    weights: ClassVar[str] = "facebook/dinov2-large or -with-registers-large (Apache 2.0)"

    kind: Literal["dinov2", "dinov2_reg"] = "dinov2"
    sees: Annotated[Literal["2d"], REPORTED] = "2d"
    checkpoint: Annotated[str, PLACE]
    image_size: PositiveInt | None = 224
    """224 gives the 16 x 16 tokens that the paper's code expects."""
    licence: str = "Apache-2.0"

    @property
    def encoder(self) -> ImageEncoder:
        """Plain, or with registers."""
        return ENCODERS[self.kind]
