"""DINOv3, its vision transformers: a class token, registers, then patches of 16 pixels.

Its places are rotations, so any image size in whole patches will do. The convolutional checkpoints
("dinov3_convnext" in transformers) are another model and refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, FiniteFloat, PositiveInt, TypeAdapter, ValidationError

from threedrs_components.outside_json import read_object
from threedrs_components.teachers.encoder_config import (
    CONFIG,
    Colour,
    ImageEncoder,
    ImageEncoderConfig,
)
from threedrs_components.teachers.weight_headers import stored_tensors
from threedrs_platform.config import PLACE, REPORTED
from threedrs_platform.errors import CheckpointError

DINOV3 = ImageEncoder(
    "DINOv3ViTModel",
    ("dinov3_vit",),
    special_tokens=lambda shape: 1 + int(shape.num_register_tokens),
    tensors=(
        "embeddings.cls_token",
        "embeddings.mask_token",
        "embeddings.patch_embeddings.bias",
        "embeddings.patch_embeddings.weight",
        "embeddings.register_tokens",
        "norm.bias",
        "norm.weight",
    ),
)
REGISTERS = "embeddings.register_tokens"
STATISTICS: dict[str, tuple[Colour, Colour]] = {
    "lvd1689m": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "sat493m": ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143)),
}
"""Mean and deviation of colours by what a checkpoint learned from: images of the web (ImageNet's
numbers), or of satellites."""

_Spread = Annotated[FiniteFloat, Field(gt=0)]
_COLOURS = TypeAdapter(
    tuple[tuple[FiniteFloat, FiniteFloat, FiniteFloat], tuple[_Spread, _Spread, _Spread]]
)


class DINOv3Config(ImageEncoderConfig):
    """DINOv3: one frame in, 2D features out."""

    weights: ClassVar[str] = "facebook/dinov3-vitl16-pretrain-lvd1689m (DINOv3 License, gated)"

    kind: Literal["dinov3"] = "dinov3"
    sees: Annotated[Literal["2d"], REPORTED] = "2d"
    checkpoint: Annotated[str, PLACE]
    image_size: PositiveInt | None = 224
    """224 gives 14 x 14 tokens, 512 gives 32 x 32."""
    statistics: Literal["checkpoint", "lvd1689m", "sat493m"] = "checkpoint"
    """By which colours pixels are normalised: those of the preprocessor_config.json beside the
    weights (where there is none, lvd1689m), or of what the checkpoint learned from."""
    licence: str = "DINOv3 License"

    @property
    def encoder(self) -> ImageEncoder:
        """The one family."""
        return DINOV3

    def check_files(self, weights: Path) -> None:
        """Refuse also a checkpoint that was saved without its registers."""
        super().check_files(weights)
        cure = f"; every released file has 4, so take {self.weights} as it was published"
        if not self.stored_configuration(weights.parent).get("num_register_tokens"):
            raise CheckpointError(
                f"{weights.parent / CONFIG}: num_register_tokens is 0 or missing: a DINOv3 without "
                f"registers{cure}"
            )
        if REGISTERS not in (stored_tensors(weights) or (REGISTERS,)):
            raise CheckpointError(
                f"{weights}: no tensor {REGISTERS!r}: a DINOv3 without registers{cure}"
            )

    def colours(self, folder: Path) -> tuple[Colour, Colour]:
        """As set, or as the checkpoint's own preprocessor says."""
        if self.statistics != "checkpoint":
            return STATISTICS[self.statistics]
        path = folder / "preprocessor_config.json"
        if not path.is_file():
            return STATISTICS["lvd1689m"]
        try:
            found = read_object(path)
            return _COLOURS.validate_python((found.get("image_mean"), found.get("image_std")))
        except (CheckpointError, ValidationError) as error:
            raise CheckpointError(
                f"{path}: no image_mean and image_std of three numbers each, deviations above 0; "
                f"say which they are "
                f"(statistics: {' or '.join(STATISTICS)})"
            ) from error
