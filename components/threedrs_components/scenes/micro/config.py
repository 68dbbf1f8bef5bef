"""Configuration of the micro world."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from threedrs_components.scenes.rgbd_folder import WrittenScenesConfig
from threedrs_components.scenes.settings import Progress, Role, SceneSettings
from threedrs_components.scenes.source import SceneSource
from threedrs_platform.records import Metric


class MicroWorldConfig(SceneSettings):
    """A world of rendered rooms: how many scenes of each split, and how they are seen."""

    kind: Literal["micro"] = "micro"
    seed: int = Field(default=0, ge=0)
    """What rooms, cameras and sentences are drawn from. A grid's `seeds` leave the world as it
    is."""
    train: int = Field(default=600, ge=1)
    """Student scenes: vision tower and alignment may use all of them."""
    text: int = Field(default=100, ge=1)
    """The first so many training scenes carry annotations."""
    val: int = Field(default=150, ge=1)
    """Held-out scenes, never seen in any training."""
    teacher_scenes: int = Field(default=1000, ge=1)
    """Scenes for pretraining teachers, disjoint from the student's."""
    num_frames: int = Field(default=8, ge=1)
    """Frames that are rendered of each room; `prepare.num_frames` takes as many, or fewer."""
    image_size: int = Field(default=64, ge=16)
    """Pixels of a frame's side, colour and depth."""
    min_objects: int = Field(default=5, ge=1)
    """Fewest objects in a room."""
    max_objects: int = Field(default=7, le=12)
    """Most objects in a room."""

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        if self.text > self.train:
            raise ValueError(f"text ({self.text}) must not exceed train ({self.train})")
        if self.min_objects > self.max_objects:
            raise ValueError("min_objects must not exceed max_objects")
        return self

    @property
    def annotated(self) -> tuple[str, ...]:
        """See `annotations.py`, which writes them."""
        return ("scanrefer", "scan2cap", "multi3drefer", "scanqa")

    @property
    def has_proposals(self) -> bool:
        """The world always comes with some."""
        return True

    @property
    def most_frames(self) -> int:
        """As many as are rendered."""
        return self.num_frames

    @property
    def trained_scenes(self) -> int:
        """Those with annotations."""
        return self.text

    @property
    def split_names(self) -> tuple[str, ...]:
        """Those that are written for students."""
        return ("train", "text", "probe", "val")

    def frame_shape(self) -> tuple[int, int]:
        """Squares."""
        return self.image_size, self.image_size

    def of_role(self, role: Role) -> Self:
        """Without the sizes of the other role's splits."""
        others = {"train", "text", "val"} if role == "teacher" else {"teacher_scenes"}
        fields = type(self).model_fields
        return self.model_copy(update={name: fields[name].default for name in others})

    def reader(self) -> SceneSettings:
        """Written scenes are folders like any others."""
        return WrittenScenesConfig()

    def open(self, written: Path) -> SceneSource:
        """Open what was written."""
        return self.reader().open(written)

    def write(self, out: Path, role: Role, progress: Progress) -> tuple[Metric, ...]:
        """Render all scenes; the metrics are those of the content-free control."""
        from threedrs_components.scenes.micro.write import write_world

        control = write_world(self, out, role, progress).get("content_free_control", {})
        return tuple(
            Metric(
                f"world/content_free/{axis}",
                control[f"r2_{axis}"],
                control["test_objects"],
                "R2",
                0.0,
            )
            for axis in ("east", "north")
            if f"r2_{axis}" in control
        )
