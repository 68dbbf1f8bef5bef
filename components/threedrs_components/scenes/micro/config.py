"""Configuration of the micro world."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from threedrs_platform.config import Config


class MicroWorldConfig(Config):
    """A world of rendered rooms: how many scenes of each split, and how they are seen."""

    kind: Literal["micro"] = "micro"
    annotated: ClassVar[tuple[str, ...]] = ("scanrefer", "scan2cap", "multi3drefer", "scanqa")
    """Benchmarks whose annotations come with the scenes; micro/annotations.py writes them."""
    seed: int = Field(default=0, ge=0)
    train: int = Field(default=600, ge=1)
    """Student scenes: vision tower and alignment may use all of them."""
    text: int = Field(default=100, ge=1)
    """The first so many training scenes carry annotations."""
    val: int = Field(default=150, ge=1)
    """Held-out scenes, never seen in any training."""
    teacher_scenes: int = Field(default=1000, ge=1)
    """Scenes for pretraining teachers, disjoint from the student's."""
    num_frames: int = Field(default=8, ge=1)
    image_size: int = Field(default=64, ge=16)
    """Pixels of a frame's side, colour and depth."""
    min_objects: int = Field(default=5, ge=1)
    max_objects: int = Field(default=7, le=12)

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        if self.text > self.train:
            raise ValueError(f"text ({self.text}) must not exceed train ({self.train})")
        if self.min_objects > self.max_objects:
            raise ValueError("min_objects must not exceed max_objects")
        return self
