"""Image encoders of transformers: what one may choose, and how one family differs from another."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

from threedrs_components.teachers.settings import FrameTeacherConfig
from threedrs_components.teachers.teacher import check_image_size

if TYPE_CHECKING:
    from threedrs_components.teachers.image_encoder import ImageEncoderTeacher

CONFIG = "config.json"
"""Beside the weights."""
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class ImageEncoder:
    """One family of encoders: its class in transformers, and what its outputs mean."""

    model: str
    """Name of the class in transformers."""
    model_types: tuple[str, ...]
    """What config.json may call the checkpoint."""
    special_tokens: Callable[[Any], int]
    """Tokens before the patches, from the model's configuration."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of the forward pass."""
    loading: Mapping[str, Any] = field(default_factory=dict)
    """Keywords of `from_pretrained`."""
    other_parts: tuple[str, ...] = ()
    """Names that the tensors of a checkpoint's other halves begin with."""
    colours: tuple[Colour, Colour] | None = None
    """Mean and deviation by which pixels are normalised; None is ImageNet's."""


class ImageEncoderConfig(FrameTeacherConfig):
    """What teachers that see one frame at a time share.

    `checkpoint` is a folder in the transformers format, or the model.safetensors inside it.
    """

    image_size: PositiveInt | None = None
    """Side of the square that frames are brought to; None is the checkpoint's own."""

    @property
    @abstractmethod
    def encoder(self) -> ImageEncoder:
        """The family that its checkpoints belong to."""

    def own_grid(self) -> int | None:
        """Of the image size and the patches that config.json tells."""
        if self.checkpoint is None:
            return None
        path = Path(self.checkpoint)
        try:
            stored = json.loads(((path if path.is_dir() else path.parent) / CONFIG).read_text())
            shape = stored.get("vision_config", stored)
            side, patch = self.image_size or int(shape["image_size"]), int(shape["patch_size"])
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None  # whoever loads the weights says what is wrong with them
        if self.image_size is not None:
            check_image_size(side, patch)
        return side // patch

    def build(self, device: str = "cpu") -> ImageEncoderTeacher:
        """Load the weights.

        Raises:
            CheckpointError: no checkpoint, or one that does not fit.
            ConfigError: an image size or a precision that the model or device cannot do.
        """
        from threedrs_components.teachers.image_encoder import ImageEncoderTeacher

        return ImageEncoderTeacher.load(self, device)
