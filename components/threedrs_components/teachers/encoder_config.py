"""Image encoders of transformers: what one may choose, and how one family differs from another."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

from threedrs_components.teachers.settings import FrameTeacherConfig

if TYPE_CHECKING:
    from threedrs_components.teachers.image_encoder import ImageEncoderTeacher

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
        """Refuse files that transformers would read but that are not as the family's are.

        `config.json` beside them is of the right model.

        Raises:
            CheckpointError: says what they lack.
        """

    def colours(self, folder: Path) -> tuple[Colour, Colour] | None:
        """Mean and deviation by which pixels are normalised; None is ImageNet's.

        Raises:
            CheckpointError: the folder says something unreadable about them.
        """
        return self.encoder.colours

    def build(self, device: str = "cpu") -> ImageEncoderTeacher:
        """Load the weights.

        Raises:
            CheckpointError: no checkpoint, or one that does not fit.
            ConfigError: an image size or a precision that the model or device cannot do.
        """
        from threedrs_components.teachers.image_encoder import ImageEncoderTeacher

        return ImageEncoderTeacher.load(self, device)
