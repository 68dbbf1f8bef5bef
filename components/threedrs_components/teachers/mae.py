"""Masked autoencoder: transformers' ViTMAE for pretraining, its plain ViT for features.

Features never go through `ViTMAEModel`: it shuffles the patches at random even when it masks none.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import ViTMAEConfig, ViTModel
from transformers.utils import logging as transformers_logging

from threedrs_components.teachers.card import TeacherCard, file_digest
from threedrs_components.teachers.config import MAEArchitecture, MAEConfig
from threedrs_components.teachers.pixels import normalised, resized
from threedrs_components.teachers.weights import UNREADABLE, find_weights
from threedrs_platform.errors import CheckpointError

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
FRAMES_PER_CHUNK = 16


class MAETeacher:
    """Reads patch features of single frames; every frame is squashed to the model's square."""

    def __init__(self, model: ViTModel, config: MAEConfig, digest: str) -> None:
        self.model = model.requires_grad_(False)
        shape: Any = model.config
        self.size, blocks = int(shape.image_size), int(shape.num_hidden_layers)
        self.grid = self.size // int(shape.patch_size)
        if not -1 <= config.layer < blocks:
            raise CheckpointError(
                f"teacher mae has blocks 0..{blocks - 1} and -1 for the normalised output, "
                f"so there is no layer {config.layer}"
            )
        self.layer = config.layer
        words = f"squashed to {self.size}x{self.size}, bicubic"
        self.card = TeacherCard(config.kind, digest, config.licence, words, config.layer)

    @classmethod
    def load(cls, config: MAEConfig, device: str = "cpu") -> MAETeacher:
        """Read the encoder of a ViTMAE checkpoint.

        Raises:
            CheckpointError: no checkpoint is named, or it does not fit.
        """
        if config.checkpoint is None:
            raise CheckpointError("teacher mae has no weights: set `checkpoint`")
        weights = find_weights(config.checkpoint, WEIGHT_FILES)
        return cls(_read_encoder(weights, device), config, file_digest(weights))

    @torch.inference_mode()
    def features(self, images: Tensor) -> Tensor:
        """[F, 3, H, W] in [0, 1] -> [F, rows, columns, hidden] float32."""
        frames = normalised(resized(images, self.size, self.size).to(self.model.device))
        tokens = torch.cat([self._tokens(chunk) for chunk in torch.split(frames, FRAMES_PER_CHUNK)])
        return torch.unflatten(tokens[:, 1:].float(), 1, (self.grid, self.grid))

    def _tokens(self, frames: Tensor) -> Tensor:
        if self.layer < 0:
            last: Tensor = self.model(frames).last_hidden_state
            return last
        out: Tensor = self.model(frames, output_hidden_states=True).hidden_states[self.layer + 1]
        return out


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


def _read_encoder(weights: Path, device: str) -> ViTModel:
    if not (weights.parent / "config.json").is_file():
        raise CheckpointError(f"{weights.parent}: config.json is missing beside {weights.name}")
    try:
        model, info = _quietly_loaded(weights.parent)
    except UNREADABLE as error:
        raise CheckpointError(f"{weights}: not a readable ViTMAE checkpoint: {error}") from error
    lost = [*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])]
    if lost:
        raise CheckpointError(
            f"{weights}: does not fit the encoder; missing or of another shape: "
            + ", ".join(sorted(lost)[:5])
        )
    model.to(device).eval()
    assert isinstance(model, ViTModel)
    return model


def _quietly_loaded(folder: Path) -> Any:
    """Model and loading report, without the printed one: the decoder is left out on purpose."""
    with quiet_transformers():
        return ViTModel.from_pretrained(
            folder,
            add_pooling_layer=False,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without transformers' warnings and progress bars; only errors are told."""
    switches: Any = transformers_logging
    verbosity, bars = switches.get_verbosity(), switches.is_progress_bar_enabled()
    switches.set_verbosity(logging.ERROR)
    switches.disable_progress_bar()
    try:
        yield
    finally:
        switches.set_verbosity(verbosity)
        if bars:
            switches.enable_progress_bar()
