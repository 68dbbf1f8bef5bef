"""Reconstruction in training: which frames are hidden, and how well their pixels are told."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, mse_loss

from threedrs_components.objectives.objective import Objective, StudentPass
from threedrs_components.objectives.reconstruction.cells import SIDE, VALUES
from threedrs_components.objectives.reconstruction.decoders import (
    TIMES,
    Denoiser,
    PooledCondition,
    Regression,
    noised,
)
from threedrs_components.students.batches import SceneBatch
from threedrs_components.students.passes import Frames
from threedrs_components.students.student import Student
from threedrs_platform.errors import ConfigError, Fault

if TYPE_CHECKING:
    from threedrs_components.objectives.reconstruction.config import ReconstructionConfig


class Reconstruction(Objective):
    """Mean over scenes of the squared error in the pixels of hidden frames."""

    settings: ReconstructionConfig

    def __init__(self, settings: ReconstructionConfig, student: Student) -> None:
        super().__init__(settings)
        width, heads = settings.width or student.width, settings.heads
        if width % heads:
            message = f"{heads} heads do not divide the decoder's width {width}"
            raise ConfigError([Fault(message, path="reconstruction.heads")])
        self.grid, cells = student.grid, student.grid**2
        self.seen_side = student.image_size - student.image_size % student.patch_size
        # A module, and no parameter: sharded weights are gathered where a module is called.
        self.stand_in = nn.Embedding(1, student.width)
        self.norm = nn.LayerNorm(student.width, elementwise_affine=False)
        self.enter = nn.Linear(student.width, width)
        self.pool = PooledCondition(width, cells, heads) if settings.condition == "pooled" else None
        self.decoder: nn.Module = (
            Denoiser(width, VALUES, cells, settings.blocks, heads)
            if settings.decoder == "denoiser"
            else Regression(width, VALUES)
        )

    def hides(self, step: int, place: str, num_frames: int) -> tuple[bool, ...]:
        """Some frames, in every n-th step."""
        if step % self.settings.every or num_frames < 2:
            return ()
        count = min(max(1, round(self.settings.ratio * num_frames)), num_frames - 1)
        hidden = random.Random(f"{place}/hidden").sample(range(num_frames), count)
        return tuple(frame in hidden for frame in range(num_frames))

    def seen(self, frames: Frames) -> Frames:
        """One learned vector stands for each token of a hidden frame."""
        if frames.hidden is None:
            return frames
        return replace(frames, stand_in=self._stand_in())

    def is_asked(self, batch: SceneBatch) -> bool:
        """In steps that hide frames."""
        return batch.frames.hidden is not None

    def forward(self, student_pass: StudentPass, whole: int) -> tuple[Tensor, dict[str, float]]:
        """The loss; 0, but a function of all weights, where no frame is hidden."""
        frames = student_pass.batch.frames
        states = student_pass.output.hidden[self.settings.layer]
        if frames.hidden is None:
            first = torch.zeros(states.shape[:2], dtype=torch.bool, device=states.device)
            first[:, 0] = True
            unused = self._error(states, frames, first, student_pass.seeds)
            return (unused + self._stand_in().sum()) * 0.0, {}
        return self._error(states, frames, frames.hidden, student_pass.seeds) / whole, {}

    def _stand_in(self) -> Tensor:
        """[C]."""
        only = torch.zeros(1, dtype=torch.long, device=self.stand_in.weight.device)
        return cast(Tensor, self.stand_in(only)[0])

    def _error(
        self, states: Tensor, frames: Frames, hidden: Tensor, seeds: tuple[int, ...]
    ) -> Tensor:
        """Sum over scenes of the mean error over their hidden frames."""
        normed = self.norm(states.to(self.enter.weight.dtype))
        conditions = self.enter(normed).flatten(2, 3)
        errors = [
            self._scene_error(condition, images, unseen, torch.Generator().manual_seed(seed))
            for condition, images, unseen, seed in zip(
                conditions, frames.images, hidden, seeds, strict=True
            )
        ]
        return torch.stack(errors).sum()

    def _scene_error(
        self, conditions: Tensor, images: Tensor, hidden: Tensor, chance: torch.Generator
    ) -> Tensor:
        """Of one scene with conditions [F, cells, W], images [F, H, W, 3] and hidden frames [F]."""
        pixels = self.pixels(images)
        if self.settings.control == "shuffled_frames":
            cycle = torch.randperm(len(pixels), generator=chance).to(pixels.device)
            pixels = pixels[_next_of(cycle)]
        pixels, condition = pixels[hidden], conditions[hidden]
        if self.pool is not None:
            condition = self.pool(conditions[~hidden].flatten(0, 1)).expand_as(condition)
        if self.settings.decoder == "regression":
            return mse_loss(self.decoder(condition).float(), pixels)
        times = self.settings.draws
        pixels, condition = pixels.repeat(times, 1, 1), condition.repeat(times, 1, 1)
        levels = torch.randint(TIMES, (len(pixels),), generator=chance)
        noise = torch.randn(pixels.shape, generator=chance).to(pixels.device)
        noisy = noised(pixels, noise, levels)
        told = self.decoder(noisy, levels.to(pixels.device), condition)
        return mse_loss(told.float(), pixels)

    def pixels(self, images: Tensor) -> Tensor:
        """[F, cells, VALUES] from -1 to 1, of what the tower sees of frames [F, H, W, 3] uint8."""
        side = self.grid * SIDE
        planes = images[:, : self.seen_side, : self.seen_side].permute(0, 3, 1, 2).float()
        small = adaptive_avg_pool2d(planes / 127.5 - 1, (side, side))
        cells = small.reshape(len(images), 3, self.grid, SIDE, self.grid, SIDE)
        patches: Tensor = cells.permute(0, 2, 4, 1, 3, 5)
        return patches.reshape(len(images), self.grid**2, VALUES)


def _next_of(cycle: Tensor) -> Tensor:
    """[n] for each member of a cycle the next one: nobody keeps his own."""
    following = torch.empty_like(cycle)
    following[cycle] = cycle.roll(-1)
    return following
