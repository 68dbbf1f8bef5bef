"""Image encoders of transformers: what one may choose, and how one family differs from another."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import PositiveInt

from threedrs_components.outside_json import read_object
from threedrs_components.teachers.encoder_headers import refuse_other_shapes, sizes_of
from threedrs_components.teachers.frame_shapes import SQUARE, Shape
from threedrs_components.teachers.settings import FrameTeacherConfig
from threedrs_components.teachers.teacher import check_image_size, check_layer
from threedrs_components.teachers.weight_headers import refuse_integers, stored_tensors
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
    tensors: tuple[str, ...] = ()
    """Ends of all names outside the layers."""
    colours: tuple[Colour, Colour] | None = None
    """Mean and deviation by which pixels are normalised; None is ImageNet's."""


class ImageEncoderConfig(FrameTeacherConfig):
    """What teachers that see one frame at a time share.

    `checkpoint` is a folder in the transformers format, or the model.safetensors inside it.
    """

    weight_files: ClassVar[tuple[str, ...]] = ("model.safetensors", "pytorch_model.bin")

    image_size: PositiveInt | None = None
    """Side of the square that frames are brought to; None is the checkpoint's own."""

    @property
    @abstractmethod
    def encoder(self) -> ImageEncoder:
        """The family that its checkpoints belong to."""

    def check_files(self, weights: Path) -> None:
        """The configuration beside the weights must be of the right model.

        Raises:
            CheckpointError: it is missing, unreadable, or of another one, or transformers reads no
                weights of that name.
        """
        if weights.name not in self.weight_files:
            raise CheckpointError(
                f"{weights}: teacher {self.kind} reads files of transformers' format, which are "
                f"called {' or '.join(self.weight_files)}: take {self.weights}"
            )
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
        if not (folder / CONFIG).is_file():
            raise CheckpointError(
                f"{folder}: {CONFIG} is missing beside the weights; take {self.weights}, as "
                "transformers reads it"
            )
        return read_object(folder / CONFIG)

    def colours(self, folder: Path) -> tuple[Colour, Colour] | None:
        """Mean and deviation by which pixels are normalised; None is ImageNet's.

        Raises:
            CheckpointError: the folder says something unreadable about them.
        """
        return self.encoder.colours

    def refuse_weights(self) -> None:
        """Refuse files of another model, layers that are none, and other tensors than described."""
        weights = self.weights_here()
        if weights is None:
            return
        self.check_files(weights)
        self.colours(weights.parent)
        sizes = self.stored_sizes(weights.parent)
        if "num_hidden_layers" in sizes:
            check_layer(self.kind, self.layer, sizes["num_hidden_layers"])
        tensors = stored_tensors(weights)
        if tensors is not None:
            parts = self.encoder.other_parts
            refuse_other_shapes(weights, tensors, sizes, self.encoder.tensors, parts)

    def own_grid(self, frame: Shape = SQUARE) -> int | None:
        """Of the image size and the patches that config.json tells, where weights are here."""
        weights = self.weights_here()
        if weights is None:
            return None
        self.check_files(weights)
        sizes = self.stored_sizes(weights.parent)
        side, patch = self.image_size or sizes.get("image_size"), sizes.get("patch_size")
        if side is None or patch is None:
            return None  # transformers knows what is left out
        if self.image_size is not None:
            check_image_size(side, patch)
        return self.finest(frame, side, patch)

    def refuse_quantised(self, weights: Path) -> None:
        """Refuse integers, which transformers would cast as if they were the weights.

        Raises:
            CheckpointError: names the tensors.
        """
        tensors, others = stored_tensors(weights) or {}, self.encoder.other_parts
        refuse_integers(
            weights, {n: each for n, each in tensors.items() if not n.startswith(others)}
        )

    def weights_here(self) -> Path | None:
        """The file of weights; None before it is here."""
        if self.checkpoint is None:
            return None
        path = Path(self.checkpoint)
        candidates = [path / name for name in self.weight_files] if path.is_dir() else [path]
        return next((each for each in candidates if each.is_file()), None)

    def stored_sizes(self, folder: Path) -> dict[str, int]:
        """Sizes that config.json states.

        Raises:
            CheckpointError: one of them is none.
        """
        return sizes_of(folder / CONFIG, self.stored_configuration(folder))

    def build(self, device: str = "cpu") -> ImageEncoderTeacher:
        """Load the weights.

        Raises:
            CheckpointError: no checkpoint, or one that does not fit.
            ConfigError: an image size or a precision that the model or device cannot do.
        """
        from threedrs_components.teachers.image_encoder import ImageEncoderTeacher

        return ImageEncoderTeacher.load(self, device)
