"""A loaded teacher: the contract of all kinds, and what all share that look at pixels.

Imports no torch, so that a small teacher fits into the module of its configuration.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from threedrs_components.scenes.frames import frame_tensor
from threedrs_platform.errors import CheckpointError, ConfigError, Fault
from threedrs_platform.fake_gpus import fake_gpus
from threedrs_platform.records import Scene

if TYPE_CHECKING:
    from torch import Tensor

    from threedrs_components.teachers.pixels import FrameSize


@dataclass(frozen=True)
class TeacherCard:
    """What must be known about a teacher to trust features that it made; kept in their files."""

    kind: str
    source_digest: str
    """sha256 of the weights; empty if there are none."""
    licence: str
    preprocessing: str
    """How frames are resized and computed with, in words."""
    layer: int
    output: str = ""
    """Which of the model's tensors the features are, in words."""


class Teacher(Protocol):
    """What every kind of teacher is once it is loaded. It holds no gradient."""

    card: TeacherCard
    grid: int
    """Patches across the width of a frame; the shorter side of stored grids."""

    def scene_features(self, scene: Scene) -> Tensor:
        """[F, rows, columns, channels] float32 of a scene's frames, the same on every call."""
        ...

    def seen(self, height: int, width: int) -> tuple[float, float]:
        """Shares of a frame's height and width, in its middle, that it looks at."""
        ...


@runtime_checkable
class DepthTeacher(Teacher, Protocol):
    """One that can tell how far things are, too."""

    def depth_maps(self, images: Tensor) -> Tensor:
        """[F, 3, H, W] in [0, 1] -> [F, h, w, 2] float32 over what it sees of one scene's frames.

        First depth along the optical axis, above 0, up to one factor for the whole scene. Then the
        weight that its confidence gives the pixel in a mean, 0 or more.
        """
        ...


class FrameTeacher(ABC):
    """A teacher whose features depend on the frames alone."""

    card: TeacherCard
    grid: int
    frame_size: FrameSize | None = None
    """How frames are brought to its size; None if it takes any."""

    @abstractmethod
    def frame_features(self, images: Tensor) -> Tensor:
        """`features` of frames that are known to be sound."""

    def features(self, images: Tensor) -> Tensor:
        """[F, 3, H, W] in [0, 1] -> [F, rows, columns, channels] float32; one scene's frames.

        Raises:
            DataError: something else than frames of that shape and range.
        """
        from threedrs_components.teachers.pixels import checked_images

        return self.frame_features(checked_images(images, "frames"))

    def scene_features(self, scene: Scene) -> Tensor:
        """Features of a scene's frames."""
        return self.features(frame_tensor(scene.images))

    def seen(self, height: int, width: int) -> tuple[float, float]:
        """What its framing leaves of a frame."""
        return (1.0, 1.0) if self.frame_size is None else self.frame_size.seen(height, width)


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, as hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_precision(precision: str, device: str) -> None:
    """Refuse what a CPU cannot do.

    Raises:
        ConfigError: bfloat16 is asked of a CPU.
    """
    if precision == "bfloat16" and device == "cpu" and not fake_gpus():
        raise ConfigError(
            [Fault("bfloat16 needs an accelerator; on a CPU use float32", "teacher.precision")]
        )


def check_grid(grid: int, own: int) -> None:
    """Refuse to enlarge.

    Raises:
        ConfigError: the grid is finer than the teacher's own.
    """
    if grid > own:
        complaint = (
            f"{grid} is finer than the teacher's {own}, so values would only repeat; take {own} or "
            "less, or show the teacher more of each frame (framing: squash) or larger ones "
            "(image_size, where its kind has it)"
        )
        raise ConfigError([Fault(complaint, "grid")])


def check_image_size(side: int, patch: int) -> None:
    """Refuse images that are no whole patches.

    Raises:
        ConfigError: names the nearest sides that are.
    """
    if side % patch:
        below = side // patch * patch
        complaint = (
            f"{side} is no multiple of the model's patch size {patch}; "
            f"take {below or patch} or {below + patch}"
        )
        raise ConfigError([Fault(complaint, "teacher.image_size")])


def check_layer(kind: str, layer: int, blocks: int) -> None:
    """Refuse a block of an image encoder that it does not have.

    Raises:
        CheckpointError: names those that it has.
    """
    if not -1 <= layer < blocks:
        raise CheckpointError(
            f"teacher {kind} has blocks 0..{blocks - 1} and -1 for the normalised output, so "
            f"there is no layer {layer}"
        )


def layer_index(kind: str, layer: int, count: int, what: str = "blocks") -> int:
    """The number from 0 of one of `count` layers, which may be counted from the last (-1).

    Raises:
        CheckpointError: there is no such layer.
    """
    if not -count <= layer < count:
        raise CheckpointError(
            f"teacher {kind} has {what} 0..{count - 1}, so there is no layer {layer}"
        )
    return layer % count
