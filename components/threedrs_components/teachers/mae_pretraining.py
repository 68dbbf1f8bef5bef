"""Pretraining of a micro MAE: hide most patches of single frames, paint them back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import ViTMAEForPreTraining

from threedrs_components.teachers.config import MAEConfig
from threedrs_components.teachers.mae import transformers_config
from threedrs_components.teachers.pixels import normalised
from threedrs_components.teachers.teacher_world import TeacherWorld
from threedrs_platform.records import Metric

SCENES_PER_CHUNK = 8
QUALITY_SEED = 0


class MAEPretraining:
    """Model, loss and quality of one pretraining."""

    def __init__(self, config: MAEConfig, world: TeacherWorld) -> None:
        self.world = world
        shape = config.architecture
        self.patches = (shape.image_size // shape.patch_size) ** 2
        self.model: Any = ViTMAEForPreTraining(transformers_config(shape))
        self.module: nn.Module = self.model
        initialise(self.module)

    def loss(self, scenes: Tensor, noise: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Mean squared error of hidden patches, each normalised by its own mean and deviation."""
        loss: Tensor = self._outputs(self.world.frames(scenes), noise).loss
        return loss, {"reconstruction": float(loss.detach())}

    def quality(self, train: Tensor, held_out: Tensor) -> list[Metric]:
        """Reconstruction error on held-out scenes beside that of guessing each patch's mean."""
        generator = torch.Generator().manual_seed(QUALITY_SEED)
        losses, trivial, number = 0.0, 0.0, 0
        with torch.inference_mode():
            for chunk in torch.split(held_out, SCENES_PER_CHUNK):
                frames = self.world.frames(chunk)
                outputs = self._outputs(frames, generator)
                nothing = torch.zeros_like(outputs.logits)
                pixels = normalised(frames.flatten(0, 1))
                guess = self.model.forward_loss(pixels, nothing, outputs.mask)
                hidden = int(outputs.mask.sum())
                losses += float(outputs.loss) * hidden
                trivial += float(guess) * hidden
                number += hidden
        return [Metric("teacher/reconstruction", losses / number, number, "MSE", trivial / number)]

    def save(self, out: Path) -> None:
        """Write the model in the transformers format."""
        self.model.save_pretrained(out)

    def _outputs(self, frames: Tensor, noise: torch.Generator) -> Any:
        pixels = normalised(frames.flatten(0, 1))
        order = torch.rand((len(pixels), self.patches), generator=noise)
        return self.model(pixels, noise=order)


def initialise(module: nn.Module) -> None:
    """Draw linear weights by their fan-in; transformers' 0.02 is meant for much larger widths."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.normal_(part.weight, std=part.in_features**-0.5)
