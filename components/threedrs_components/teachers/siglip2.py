"""SigLIP 2 of fixed resolution, whose checkpoints call themselves "siglip": patches only.

The naflex checkpoints ("siglip2" in transformers) take patches, not frames, and are refused.
"""

from __future__ import annotations

from typing import Any

from threedrs_components.teachers.image_encoder import ImageEncoder


def _vision_half() -> Any:
    from transformers import SiglipVisionModel

    return SiglipVisionModel


HALF = (0.5, 0.5, 0.5)
SIGLIP2 = ImageEncoder(
    _vision_half,
    ("siglip", "siglip_vision_model"),
    special_tokens=lambda shape: 0,
    options={"interpolate_pos_encoding": True},
    other_parts=("text_model.", "logit_scale", "logit_bias"),
    mean=HALF,
    std=HALF,
)
