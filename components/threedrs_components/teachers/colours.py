"""Mean colours as a teacher: what pictures show to somebody who has learned nothing. The control.

Also the smallest teacher there is, and so the pattern for a new one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import PositiveInt

from threedrs_components.teachers.settings import TeacherSettings
from threedrs_components.teachers.teacher import FrameTeacher, TeacherCard
from threedrs_platform.config import REPORTED
from threedrs_platform.errors import ConfigError, Fault

if TYPE_CHECKING:
    from torch import Tensor


class ColourTeacher(FrameTeacher):
    """Gives the mean colour of every cell of a frame."""

    def __init__(self, config: RGBConfig) -> None:
        self.grid = config.grid
        words = f"no resizing; cells of a {config.grid} x {config.grid} grid"
        self.card = TeacherCard(config.kind, "", config.licence, words, config.layer, "mean colour")

    def frame_features(self, images: Tensor) -> Tensor:
        """[F, 3, H, W] in [0, 1] -> [F, grid, grid, 3] float32 in [-1, 1]."""
        # Imported late, because whoever reads the configuration above need not wait for torch.
        from threedrs_components.scenes.geometry import cell_sums

        height, width = images.shape[-2:]
        if self.grid > min(height, width):
            message = f"{self.grid} cells do not fit across frames of {width} x {height} pixels"
            raise ConfigError([Fault(message, "teacher.grid")])
        area = cell_sums(images.new_ones(height, width), self.grid, self.grid)
        sums = cell_sums(images, self.grid, self.grid)
        return (2 * sums / area - 1).movedim(1, -1)


class RGBConfig(TeacherSettings):
    """Mean colour of each cell: no model, no weights, nothing learned."""

    weights: ClassVar[None] = None

    kind: Literal["rgb"] = "rgb"
    sees: Annotated[Literal["nothing"], REPORTED] = "nothing"
    grid: PositiveInt = 14
    """Cells across and down a frame."""

    def at_grid(self, grid: int) -> Self:
        """With these cells."""
        return self.model_copy(update={"grid": grid})

    def build(self, device: str = "cpu") -> ColourTeacher:
        """The teacher; `device` has no effect."""
        return ColourTeacher(self)
