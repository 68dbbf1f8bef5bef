"""Vision transformers of transformers as teachers: one frame in, its patch tokens out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch import Tensor, nn

from threedrs_components.teachers.pixels import FrameSize, normalised
from threedrs_components.teachers.quiet import quiet_transformers
from threedrs_components.teachers.teacher import (
    FrameTeacher,
    TeacherCard,
    check_image_size,
    check_layer,
    check_precision,
    file_digest,
)
from threedrs_components.teachers.weight_headers import listed
from threedrs_components.teachers.weights import UNREADABLE, find_weights, reason
from threedrs_platform.errors import CheckpointError

if TYPE_CHECKING:
    from threedrs_components.teachers.encoder_config import (
        Colour,
        ImageEncoder,
        ImageEncoderConfig,
    )

FRAMES_PER_CHUNK = 16


class ImageEncoderTeacher(FrameTeacher):
    """Reads patch features of single frames."""

    frame_size: FrameSize

    def __init__(
        self,
        model: nn.Module,
        config: ImageEncoderConfig,
        digest: str,
        colours: tuple[Colour, Colour] | None,
    ) -> None:
        self.model: Any = model.eval().requires_grad_(False)
        self.encoder, self.layer, self.colours = config.encoder, config.layer, colours
        self.autocast = config.precision == "bfloat16"
        shape: Any = model.config
        self.patch = int(shape.patch_size)
        side = config.image_size or int(shape.image_size)
        if config.image_size is not None:
            check_image_size(side, self.patch)
        self.frame_size = FrameSize(side, side, self.patch, config.framing)
        self.grid = side // self.patch
        blocks = int(shape.num_hidden_layers)
        check_layer(config.kind, config.layer, blocks)
        words = f"{self.frame_size}; {config.precision}"
        if colours is not None and colours != self.encoder.colours:
            words += f"; colours by mean {colours[0]}, deviation {colours[1]}"
        output = "last block, normalised" if config.layer < 0 else f"block {config.layer}, raw"
        self.card = TeacherCard(
            config.kind, digest, config.licence, words, config.layer, f"patch tokens of {output}"
        )

    @classmethod
    def load(cls, config: ImageEncoderConfig, device: str = "cpu") -> ImageEncoderTeacher:
        """Read the encoder of a checkpoint in the transformers format.

        Raises:
            CheckpointError: no checkpoint is named, or it does not fit.
            ConfigError: an image size or a precision that the model or device cannot do.
        """
        check_precision(config.precision, device)
        if config.checkpoint is None:
            raise CheckpointError(f"teacher {config.kind} has no weights: set `checkpoint`")
        weights = find_weights(config.checkpoint, config.weight_files)
        config.check_files(weights)
        config.stored_sizes(weights.parent)
        config.refuse_quantised(weights)
        colours = config.colours(weights.parent)
        model = _read_model(weights, config.encoder)
        return cls(model.to(device), config, file_digest(weights), colours)

    @torch.inference_mode()
    def frame_features(self, images: Tensor) -> Tensor:
        """[F, 3, H, W] in [0, 1] -> [F, rows, columns, hidden] float32."""
        frames = self.frame_size(images).to(self.model.device)
        frames = normalised(frames, *(self.colours or ()))
        tokens = torch.cat([self._tokens(chunk) for chunk in torch.split(frames, FRAMES_PER_CHUNK)])
        patches = tokens[:, self.encoder.special_tokens(self.model.config) :].float()
        return torch.unflatten(patches, 1, (frames.shape[-2] // self.patch, -1))

    def _tokens(self, frames: Tensor) -> Tensor:
        options = {**self.encoder.options, "output_hidden_states": self.layer >= 0}
        with torch.autocast(frames.device.type, torch.bfloat16, enabled=self.autocast):
            found = self.model(frames, **options)
        out: Tensor = (
            found.last_hidden_state if self.layer < 0 else found.hidden_states[self.layer + 1]
        )
        return out


def _read_model(weights: Path, encoder: ImageEncoder) -> nn.Module:
    try:
        with quiet_transformers():
            model, info = getattr(transformers, encoder.model).from_pretrained(
                weights.parent,
                dtype=torch.float32,
                local_files_only=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **encoder.loading,
            )
    except UNREADABLE as error:
        raise CheckpointError(f"{weights}: not a readable checkpoint: {reason(error)}") from error
    extra = [key for key in info["unexpected_keys"] if not key.startswith(encoder.other_parts)]
    faults = {
        "missing": sorted(info["missing_keys"]),
        "of another shape": sorted(key for key, *_ in info["mismatched_keys"]),
        "unknown": sorted(extra),
    }
    if any(faults.values()):
        raise CheckpointError(f"{weights}: does not fit the model; tensors {listed(faults)}")
    assert isinstance(model, nn.Module)
    return model
