"""What every teacher that reads pixels shares: whole scenes, precision and framing."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from threedrs_components.scenes.frames import frame_tensor
from threedrs_components.teachers.card import TeacherCard
from threedrs_components.teachers.settings import FrameTeacherConfig
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.records import Scene


class FrameTeacher(ABC):
    """A loaded teacher whose features depend on the frames alone."""

    card: TeacherCard
    grid: int
    """Patches across the width of a frame."""

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """[F, 3, H, W] in [0, 1] -> [F, rows, columns, channels] float32; one scene's frames."""

    def scene_features(self, scene: Scene) -> Tensor:
        """Features of a scene's frames."""
        return self.features(frame_tensor(scene.images))


def check_precision(config: FrameTeacherConfig, device: str) -> None:
    """Refuse what a CPU cannot do.

    Raises:
        ConfigError: bfloat16 is asked of a CPU.
    """
    if config.precision == "bfloat16" and device == "cpu":
        raise ConfigError(
            [Fault("bfloat16 needs an accelerator; on a CPU use float32", "teacher.precision")]
        )
