"""Masked autoencoder: transformers' plain ViT reads the encoder of a ViTMAE checkpoint.

Features never go through `ViTMAEModel`: it shuffles the patches at random even when it masks none.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from threedrs_components.teachers.encoder_config import ImageEncoder, ImageEncoderConfig
from threedrs_components.teachers.frame_shapes import SQUARE, Shape
from threedrs_components.teachers.mae.architecture import MAEArchitecture
from threedrs_components.teachers.teacher import check_image_size
from threedrs_platform.config import REPORTED

MAE = ImageEncoder(
    "ViTModel",
    ("vit_mae",),
    special_tokens=lambda shape: 1,
    options={"interpolate_pos_encoding": True},
    loading={"add_pooling_layer": False},
    other_parts=("decoder.",),
    tensors=(
        "embeddings.cls_token",
        "embeddings.patch_embeddings.projection.bias",
        "embeddings.patch_embeddings.projection.weight",
        "embeddings.position_embeddings",
        "layernorm.bias",
        "layernorm.weight",
    ),
)


class MAEConfig(ImageEncoderConfig):
    """Masked autoencoder: one frame in, 2D features out. The 2D teacher of the comparison."""

    weights: ClassVar[str] = "facebook/vit-mae-large (CC BY-NC 4.0)"

    kind: Literal["mae"] = "mae"
    sees: Annotated[Literal["2d"], REPORTED] = "2d"
    architecture: MAEArchitecture = MAEArchitecture()
    """Widths for pretraining; ignored when a checkpoint is given."""

    @property
    def encoder(self) -> ImageEncoder:
        """The encoder half of a checkpoint."""
        return MAE

    def own_grid(self, frame: Shape = SQUARE) -> int | None:
        """Of the checkpoint, or of the model that will be trained."""
        if self.checkpoint is not None:
            return super().own_grid(frame)
        side, patch = self.image_size or self.architecture.image_size, self.architecture.patch_size
        check_image_size(side, patch)
        return self.finest(frame, side, patch)
