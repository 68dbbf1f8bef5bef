"""Reconstruction in training: which frames are hidden, and how well their pixels are told."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, mse_loss

from threedrs_components.objectives.objective import Objective, StudentPass
from threedrs_components.objectives.reconstruction.cells import BIRDS_EYE, SIDE, VALUES
from threedrs_components.objectives.reconstruction.decoders import (
    TIMES,
    BirdsEye,
    Denoiser,
    PooledCondition,
    Regression,
    noised,
)
from threedrs_components.scenes.birds_eye import shrunk
from threedrs_components.scenes.prepared import PreparedScene, scene_birds_eye
from threedrs_components.students.batches import SceneBatch
from threedrs_components.students.passes import Frames
from threedrs_components.students.student import Student
from threedrs_platform.errors import ConfigError, Fault

if TYPE_CHECKING:
    from threedrs_components.objectives.reconstruction.config import ReconstructionConfig


class Reconstruction(Objective):
    """Mean over scenes of the squared error in the pixels of hidden frames, and of the room from
    above."""

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
        self.above: BirdsEye | None = None
        if settings.birds_eye is not None:
            places = settings.decoder == "denoiser"
            self.above = BirdsEye(width, settings.birds_eye**2, heads, places=places)

    @property
    def has_target(self) -> bool:
        """Frames are in the batch; the room from above is not."""
        return self.above is not None

    def target(self, scene: PreparedScene) -> Tensor | None:
        """[side, side, 4] uint8, the room from above at the size that is told of it.

        Raises:
            DataError: the scene was prepared without, or with a smaller picture.
        """
        if self.above is None:
            return None
        return shrunk(scene_birds_eye(scene), self.settings.picture_side, scene.scene_id)

    def collate(self, targets: Sequence[Tensor]) -> Tensor:
        """[S, side, side, 4]."""
        return torch.stack(list(targets))

    def hides(self, step: int, place: str, num_frames: int) -> tuple[bool, ...]:
        """Some frames, in every n-th step."""
        every = self.settings.every
        if every == 0 or step % every or num_frames < 2:
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
        """In steps that hide frames; for the room from above in all of them."""
        return self.above is not None or batch.frames.hidden is not None

    def forward(self, student_pass: StudentPass, whole: int) -> tuple[Tensor, dict[str, float]]:
        """The loss; of frames it is 0, but a function of all weights, where none is hidden."""
        frames, seeds = student_pass.batch.frames, student_pass.seeds
        states = student_pass.output.hidden[self.settings.layer]
        conditions = self._conditions(states)
        if frames.hidden is None:
            hidden = torch.zeros(states.shape[:2], dtype=torch.bool, device=states.device)
            of_frames = self._of_no_frame(student_pass, conditions)
        else:
            hidden = frames.hidden
            of_frames = self._error(conditions, frames, hidden, seeds) / whole
        if self.above is None:
            return of_frames, {}
        pictures = student_pass.target.to(states.device)
        errors = [
            self._error_above(self.above, condition[~unseen], picture, seed)
            for condition, unseen, picture, seed in zip(
                conditions, hidden, pictures, seeds, strict=True
            )
        ]
        from_above = torch.stack(errors).sum() / whole
        return of_frames + from_above, {BIRDS_EYE: float(from_above.detach())}

    def _of_no_frame(self, student_pass: StudentPass, conditions: Tensor) -> Tensor:
        """0, with a gradient of 0 for every weight, as optimizers move weights that have none.

        Args:
            student_pass: a frame is decoded for it only where all modules must be called.
            conditions: [S, F, cells, W].
        """
        if not student_pass.runs_every_head:
            return torch.stack([weights[:0].sum().float() for weights in self.parameters()]).sum()
        frames = student_pass.batch.frames
        first = torch.zeros(conditions.shape[:2], dtype=torch.bool, device=conditions.device)
        first[:, 0] = True
        unused = self._error(conditions, frames, first, student_pass.seeds)
        return (unused + self._stand_in().sum()) * 0.0

    def _stand_in(self) -> Tensor:
        """[C]."""
        only = torch.zeros(1, dtype=torch.long, device=self.stand_in.weight.device)
        return cast(Tensor, self.stand_in(only)[0])

    def _conditions(self, states: Tensor) -> Tensor:
        """[S, F, cells, W] of states [S, F, P, P, C]."""
        normed = self.norm(states.to(self.enter.weight.dtype))
        entered: Tensor = self.enter(normed)
        return entered.flatten(2, 3)

    def _error(
        self, conditions: Tensor, frames: Frames, hidden: Tensor, seeds: tuple[int, ...]
    ) -> Tensor:
        """Sum over scenes of the mean error over their hidden frames, of conditions
        [S, F, cells, W]."""
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
        told, pixels = self._denoised(pixels, condition, chance)
        return mse_loss(told, pixels)

    def _error_above(
        self, above: BirdsEye, conditions: Tensor, picture: Tensor, seed: int
    ) -> Tensor:
        """Mean over the pixels that were seen of a picture [side, side, 4] of one scene, told from
        conditions [F, cells, W] of the frames that are not hidden."""
        # Its own draws: those of frames are the same with it and without.
        chance = torch.Generator().manual_seed(seed + 1)
        planes, grid = picture.permute(2, 0, 1)[None].float(), len(picture) // SIDE
        pixels = _cells(planes[:, :3] / 127.5 - 1, grid)
        seen = _cells(planes[:, 3:].expand(-1, 3, -1, -1), grid) > 0
        if self.settings.control == "shuffled_frames":
            order = torch.randperm(grid**2, generator=chance).to(pixels.device)
            pixels, seen = pixels[:, order], seen[:, order]
        pixels = torch.where(seen, pixels, 0.0)
        condition, places = above(conditions.flatten(0, 1))
        if self.settings.decoder == "regression":
            told = self.decoder(condition[None]).float()
        else:
            told, pixels = self._denoised(pixels, condition[None], chance, places)
        errors = torch.where(seen, told - pixels, 0.0).square()
        return errors.sum() / (seen.sum() * len(errors)).clamp(min=1)

    def _denoised(
        self,
        pixels: Tensor,
        condition: Tensor,
        chance: torch.Generator,
        places: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """What is told of pixels [n, cells, VALUES] behind each of several noises, and they
        themselves: [draws * n, cells, VALUES] float32."""
        times = self.settings.draws
        pixels, condition = pixels.repeat(times, 1, 1), condition.repeat(times, 1, 1)
        levels = torch.randint(TIMES, (len(pixels),), generator=chance)
        noise = torch.randn(pixels.shape, generator=chance).to(pixels.device)
        noisy = noised(pixels, noise, levels)
        told = self.decoder(noisy, levels.to(pixels.device), condition, places)
        return told.float(), pixels

    def pixels(self, images: Tensor) -> Tensor:
        """[F, cells, VALUES] from -1 to 1, of what the tower sees of frames [F, H, W, 3] uint8."""
        side = self.grid * SIDE
        planes = images[:, : self.seen_side, : self.seen_side].permute(0, 3, 1, 2).float()
        small = adaptive_avg_pool2d(planes / 127.5 - 1, (side, side))
        return _cells(small, self.grid)


def _cells(planes: Tensor, grid: int) -> Tensor:
    """[n, grid * grid, VALUES] of planes [n, 3, grid * SIDE, grid * SIDE]."""
    parts = planes.reshape(len(planes), 3, grid, SIDE, grid, SIDE)
    return parts.permute(0, 2, 4, 1, 3, 5).reshape(len(planes), grid**2, VALUES)


def _next_of(cycle: Tensor) -> Tensor:
    """[n] for each member of a cycle the next one: nobody keeps his own."""
    following = torch.empty_like(cycle)
    following[cycle] = cycle.roll(-1)
    return following
