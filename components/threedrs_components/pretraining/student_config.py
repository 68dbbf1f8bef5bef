"""Configuration of what a micro student learns before fine-tuning. Imports no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from threedrs_platform.config import CONDUCT, Config


class MicroPretrainingConfig(Config):
    """The two 2D stages that give every micro student the same start."""

    tower_steps: NonNegativeInt = 400
    """Steps of the vision tower alone: what every cell of a frame shows."""
    tower_images: PositiveInt = 48
    """Frames per step."""
    tower_learning_rate: PositiveFloat = 3e-3
    """Highest learning rate of the tower's stage."""
    language_steps: NonNegativeInt = 250
    """Steps of all but the tower: captions, colours and grounding in single frames."""
    language_frames: PositiveInt = 40
    """Frames per step."""
    language_learning_rate: PositiveFloat = 2e-3
    """Highest learning rate of the second stage."""
    checkpoint_every: Annotated[PositiveInt, CONDUCT] = 100
    """Steps between checkpoints that an interrupted pretraining goes on from."""
    evaluation_frames: PositiveInt = 300
    """Held-out frames, at most, on which both are measured."""
    seed: int = Field(default=0, ge=0)
    """What its weights start from and its frames are drawn by; cells share one start, whatever
    their own seed."""
