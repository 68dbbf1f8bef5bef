"""Masked autoencoder: transformers' plain ViT reads the encoder of a ViTMAE checkpoint.

Features never go through `ViTMAEModel`: it shuffles the patches at random even when it masks none.
"""

from __future__ import annotations

from typing import Any

from transformers import ViTMAEConfig

from threedrs_components.teachers.config import MAEArchitecture
from threedrs_components.teachers.image_encoder import ImageEncoder


def _plain_encoder() -> Any:
    from transformers import ViTModel

    return ViTModel


MAE = ImageEncoder(
    _plain_encoder,
    ("vit_mae",),
    special_tokens=lambda shape: 1,
    options={"interpolate_pos_encoding": True},
    loading={"add_pooling_layer": False},
    other_parts=("decoder.",),
)


def transformers_config(architecture: MAEArchitecture) -> ViTMAEConfig:
    """The same widths in transformers' words."""
    return ViTMAEConfig(
        image_size=architecture.image_size,
        patch_size=architecture.patch_size,
        hidden_size=architecture.hidden_size,
        num_hidden_layers=architecture.layers,
        num_attention_heads=architecture.heads,
        intermediate_size=int(architecture.mlp_ratio * architecture.hidden_size),
        decoder_hidden_size=architecture.decoder_hidden_size,
        decoder_num_hidden_layers=architecture.decoder_layers,
        decoder_num_attention_heads=architecture.decoder_heads,
        decoder_intermediate_size=int(architecture.mlp_ratio * architecture.decoder_hidden_size),
        mask_ratio=architecture.mask_ratio,
        norm_pix_loss=False,  # rendered patches are often flat: their own deviation is noise
    )
