"""Features that were made elsewhere: what one may choose, and must say about them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import PositiveInt

from threedrs_components.teachers.frame_shapes import SQUARE, Shape
from threedrs_components.teachers.settings import Sight, TeacherSettings
from threedrs_platform.config import PLACE, REPORTED

if TYPE_CHECKING:
    from threedrs_components.teachers.precomputed.teacher import PrecomputedTeacher


class PrecomputedConfig(TeacherSettings):
    """Features that were made elsewhere: one .arrow, .npz or .safetensors file per scene."""

    weight_files: ClassVar[tuple[str, ...]] = ()
    weights: ClassVar[str] = "a folder of feature files, <scene>.npz or <scene>/<any name>.npz"

    kind: Literal["precomputed"] = "precomputed"
    sees: Annotated[Sight | None, REPORTED] = None
    """What the model that made them learned from; None is what the kind named by `teacher` learned
    from. Where that is no kind, no finding speaks of this teacher until `sees` says it."""
    checkpoint: Annotated[str, PLACE]
    """The folder of feature files."""
    teacher: str = "unknown"
    """The model that made them; files that name their maker must name this one."""
    layer: int = -1
    """The layer they were read from; checked where a file says."""
    key: str | None = None
    """Name of the array in .npz and .safetensors files; None takes `feature`, `arr_0` or the
    only one."""
    frames: Literal["known", "assumed"] = "known"
    """Features must say of which frames they are: by names, or by fingerprints of their images.
    "assumed" takes those that say nothing for features of the scene's frames if there are as many;
    cards and reports then say so."""
    rows: PositiveInt | None = None
    """Rows of the token grid; None finds them from the number of tokens."""

    def own_grid(self, frame: Shape = SQUARE) -> int | None:
        """Of the first scene's file; None where no folder of them is here."""
        if not Path(self.checkpoint).is_dir():
            return None
        from threedrs_components.teachers.precomputed.files import stored_grid

        return min(stored_grid(self))

    def build(self, device: str = "cpu") -> PrecomputedTeacher:
        """Open the folder; `device` has no effect.

        Raises:
            CheckpointError: there is no such folder, or it holds no features.
        """
        from threedrs_components.teachers.precomputed.teacher import PrecomputedTeacher

        return PrecomputedTeacher(self)
