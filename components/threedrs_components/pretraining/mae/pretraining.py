"""Pretraining of a micro MAE: hide most patches of single frames, paint them back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from threedrs_components.pretraining.teacher_world import TeacherWorld
from threedrs_components.teachers.mae.architecture import MAEArchitecture
from threedrs_components.teachers.pixels import normalised
from threedrs_components.teachers.quiet import quiet_transformers
from threedrs_platform.records import Metric

SCENES_PER_CHUNK = 8
QUALITY_SEED = 0
POSITION_BASE = 10_000.0
TOKEN_STD = 0.02


class MAEPretraining:
    """Model, loss and quality of one pretraining."""

    def __init__(self, architecture: MAEArchitecture, world: TeacherWorld) -> None:
        self.world = world
        self.patches = (architecture.image_size // architecture.patch_size) ** 2
        self.model: Any = ViTMAEForPreTraining(transformers_config(architecture))
        self.module: nn.Module = self.model
        initialise(self.model)

    def loss(self, scenes: Tensor, noise: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Mean squared error of the hidden patches' normalised pixels."""
        loss: Tensor = self._outputs(self._pixels(scenes), noise).loss
        return loss, {"reconstruction": float(loss.detach())}

    def quality(self, train: Tensor, held_out: Tensor) -> list[Metric]:
        """Error on held-out scenes beside that of always painting the mean training patch."""
        generator = torch.Generator().manual_seed(QUALITY_SEED)
        losses, trivial, number = 0.0, 0.0, 0
        with torch.inference_mode():
            guess = self._mean_patch(train)
            for chunk in torch.split(held_out, SCENES_PER_CHUNK):
                pixels = self._pixels(chunk)
                outputs = self._outputs(pixels, generator)
                hidden = outputs.mask.bool()
                patches = self.model.patchify(pixels)[hidden]
                losses += float((outputs.logits[hidden] - patches).square().mean()) * len(patches)
                trivial += float((guess - patches).square().mean()) * len(patches)
                number += len(patches)
        return [Metric("teacher/reconstruction", losses / number, number, "MSE", trivial / number)]

    def save(self, out: Path) -> None:
        """Write the model in the transformers format."""
        with quiet_transformers():
            self.model.save_pretrained(out)

    def _pixels(self, scenes: Tensor) -> Tensor:
        return normalised(self.world.frames(scenes).flatten(0, 1))

    def _outputs(self, pixels: Tensor, noise: torch.Generator) -> Any:
        order = torch.rand((len(pixels), self.patches), generator=noise)
        return self.model(pixels, noise=order)

    def _mean_patch(self, scenes: Tensor) -> Tensor:
        means = [
            self.model.patchify(self._pixels(chunk)).mean((0, 1))
            for chunk in torch.split(scenes, SCENES_PER_CHUNK)
        ]
        return torch.stack(means).mean(0)


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


def initialise(model: Any) -> None:
    """Draw weights by their fan-in, and write the position embeddings.

    transformers' 0.02 is meant for much larger widths; and in 5.23 a model made from a config has
    all-zero positions in encoder and decoder, which no training could mend, because they are fixed.
    """
    for part in model.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            nn.init.normal_(part.weight, std=part.weight[0].numel() ** -0.5)
    embeddings, decoder = model.vit.embeddings, model.decoder
    with torch.no_grad():
        for places in (embeddings.position_embeddings, decoder.decoder_pos_embed):
            places.copy_(positions(math.isqrt(places.shape[1] - 1), places.shape[2]))
        for token in (embeddings.cls_token, decoder.mask_token):
            token.normal_(std=TOKEN_STD)


def positions(side: int, width: int) -> Tensor:
    """[1, 1 + side * side, width]: zeros for the class token, then sine and cosine of x and y."""
    frequencies = POSITION_BASE ** (-torch.arange(width // 4) / (width // 4))
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    angles = [place.reshape(-1, 1) * frequencies for place in (columns, rows)]
    codes = [wave for angle in angles for wave in (angle.sin(), angle.cos())]
    return F.pad(torch.cat(codes, 1), (0, 0, 1, 0)).unsqueeze(0)
