"""SigLIP 2 of fixed resolution, whose checkpoints call themselves "siglip": patches only.

The naflex checkpoints ("siglip2" in transformers) take patches, not frames, and are refused.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from threedrs_components.teachers.encoder_config import ImageEncoder, ImageEncoderConfig
from threedrs_platform.config import PLACE, REPORTED

HALF = (0.5, 0.5, 0.5)
SIGLIP2 = ImageEncoder(
    "SiglipVisionModel",
    ("siglip", "siglip_vision_model"),
    special_tokens=lambda shape: 0,
    options={"interpolate_pos_encoding": True},
    other_parts=("text_model.", "logit_scale", "logit_bias"),
    colours=(HALF, HALF),
    tensors=(
        "embeddings.patch_embedding.bias",
        "embeddings.patch_embedding.weight",
        "embeddings.position_embedding.weight",
        "post_layernorm.bias",
        "post_layernorm.weight",
    ),
)


class SigLIP2Config(ImageEncoderConfig):
    """SigLIP 2: one frame in, 2D features that know language out."""

    weights: ClassVar[str] = "google/siglip2-so400m-patch14-224 (Apache 2.0)"

    kind: Literal["siglip2"] = "siglip2"
    sees: Annotated[Literal["2d"], REPORTED] = "2d"
    checkpoint: Annotated[str, PLACE]
    licence: str = "Apache-2.0"

    @property
    def encoder(self) -> ImageEncoder:
        """The vision half of a checkpoint."""
        return SIGLIP2
