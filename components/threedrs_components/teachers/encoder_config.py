"""Image encoders of transformers: what one may choose, and how one family differs from another."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

from threedrs_components.teachers.frame_shapes import USUAL, Shape
from threedrs_components.teachers.settings import FrameTeacherConfig
from threedrs_components.teachers.teacher import check_image_size
from threedrs_components.teachers.weight_headers import SUFFIX
from threedrs_platform.errors import CheckpointError

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

    def check_files(self, weights: Path) -> None:
        """The configuration beside the weights must be of the right model.

        Raises:
            CheckpointError: it is missing, unreadable, or of another one.
        """
        found = self.stored_configuration(weights.parent).get("model_type")
        if found not in self.encoder.model_types:
            wanted = " or ".join(map(repr, self.encoder.model_types))
            what = "no checkpoint of transformers: it names no model type"
            if found is not None:
                what = f"a checkpoint of model type {found!r}"
            raise CheckpointError(
                f"{weights.parent / CONFIG}: {what}; teacher {self.kind} reads {wanted}: take "
                f"{self.weights}"
            )

    def stored_configuration(self, folder: Path) -> dict[str, Any]:
        """What config.json says.

        Raises:
            CheckpointError: there is none, or it is something else.
        """
        path = folder / CONFIG
        try:
            found = json.loads(path.read_text())
        except FileNotFoundError as error:
            raise CheckpointError(f"{folder}: {CONFIG} is missing beside the weights") from error
        except ValueError as error:
            raise CheckpointError(f"{path}: no model configuration: {error}") from error
        if not isinstance(found, dict):
            raise CheckpointError(f"{path}: no model configuration: a {type(found).__name__}")
        return found

    def colours(self, folder: Path) -> tuple[Colour, Colour] | None:
        """Mean and deviation by which pixels are normalised; None is ImageNet's.

        Raises:
            CheckpointError: the folder says something unreadable about them.
        """
        return self.encoder.colours

    def own_grid(self, frame: Shape = USUAL) -> int | None:
        """Of the image size and the patches that config.json tells; of files that are here, if
        they pass `check_files`."""
        if self.checkpoint is None:
            return None
        path = Path(self.checkpoint)
        weights = path / f"model{SUFFIX}" if path.is_dir() else path
        if (weights.parent / CONFIG).is_file():
            self.check_files(weights)
        try:
            stored = json.loads((weights.parent / CONFIG).read_text())
            shape = stored.get("vision_config", stored)
            side, patch = self.image_size or int(shape["image_size"]), int(shape["patch_size"])
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None  # whoever loads the weights says what is wrong with them
        if self.image_size is not None:
            check_image_size(side, patch)
        return self.finest(frame, side, patch)

    def build(self, device: str = "cpu") -> ImageEncoderTeacher:
        """Load the weights.

        Raises:
            CheckpointError: no checkpoint, or one that does not fit.
            ConfigError: an image size or a precision that the model or device cannot do.
        """
        from threedrs_components.teachers.image_encoder import ImageEncoderTeacher

        return ImageEncoderTeacher.load(self, device)
