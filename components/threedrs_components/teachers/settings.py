"""What every kind of teacher lets one choose. Imports no torch."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator

from threedrs_components.teachers.frame_shapes import SQUARE, Shape, rows_in_proportion
from threedrs_platform.config import PLACE, REPORTED, Config

if TYPE_CHECKING:
    from threedrs_components.teachers.teacher import Teacher

Sight = Literal["3d", "2d", "nothing"]
"""What a teacher learned from: 3D geometry; single images, without any; or it learned nothing."""
Framing = Literal["aspect", "squash", "crop"]
"""How a frame is brought to the model's size: "aspect" keeps its shape at the model's width and
cuts only what is then too tall (VGGT's own loader), "squash" distorts the whole frame to the
model's size (what the student does), "crop" keeps the shape and cuts the middle out."""


class TeacherSettings(Config):
    """What every kind of teacher lets one choose, and the facts that every kind tells."""

    weights: ClassVar[str | None]
    """Where the released weights are and their terms, for messages; None if it needs none."""
    weight_files: ClassVar[tuple[str, ...]] = ("model.safetensors", "model.pt")
    """Names of the file of weights in a folder; the first that is there counts."""
    gives_depth: ClassVar[bool] = False
    """Whether what it builds is a `DepthTeacher`."""
    depth_parts: ClassVar[tuple[str, ...]] = ()
    """How names of tensors begin that its depth needs, beside those that its features need."""

    kind: str
    """The name of the kind; each subclass allows its own."""
    sees: Annotated[Sight | None, REPORTED]
    """What the teacher learned from; None is not told. Reports judge by it."""
    checkpoint: Annotated[str | None, PLACE] = None
    """The weights."""
    layer: int = -1
    """Block whose output is the feature; -1 is the last, after the final LayerNorm if any."""
    max_cut: float = Field(default=0.1, ge=0, le=1)
    """Share of a frame that the teacher's framing may cut off; a scene that loses more is a bad
    one. Portrait frames lose a quarter to "aspect"."""
    licence: str = ""
    """Terms of the weights, kept with every feature file, e.g. "CC BY-NC 4.0"."""

    @field_validator("checkpoint")
    @classmethod
    def _only_where_there_are_weights(
        cls, checkpoint: str | None, info: ValidationInfo
    ) -> str | None:
        if checkpoint is not None and cls.weights is None:
            raise ValueError(f"the model {info.data['kind']!r} has no weights; leave it out")
        return checkpoint

    @field_validator("layer")
    @classmethod
    def _only_where_there_are_layers(cls, layer: int, info: ValidationInfo) -> int:
        if layer != -1 and cls.weights is None:
            raise ValueError(f"the model {info.data['kind']!r} has no layers; leave it out")
        return layer

    @property
    def is_ready(self) -> bool:
        """Whether it can be built as it is: it has its weights, or needs none."""
        return self.checkpoint is not None or self.weights is None

    def refuse_weights(self) -> None:
        """Refuse weights that are here and that it cannot be built from, as far as headers tell.

        Raises:
            CheckpointError: names the file, what does not fit, and what would.
            ConfigError: a setting that the weights do not allow.
        """
        return

    def own_grid(self, frame: Shape = SQUARE) -> int | None:
        """Patches along the shorter side of what it makes of a frame, at most.

        As far as the settings tell, and the headers of its weights where they are here; None where
        only the loaded teacher knows. Imports no torch.

        Args:
            frame: height and width of what it is shown.

        Raises:
            CheckpointError: the weights are of another model.
            ConfigError: a setting that the weights do not allow.
        """
        return None

    def at_grid(self, grid: int) -> Self:
        """The same teacher for features that will be pooled to grid x grid.

        Only a teacher whose own grid is a choice becomes another.
        """
        return self

    @abstractmethod
    def build(self, device: str = "cpu") -> Teacher:
        """Load the teacher.

        Raises:
            CheckpointError: no checkpoint, or one that does not fit.
        """


class FrameTeacherConfig(TeacherSettings):
    """What all models that look at pixels let one choose."""

    framing: Framing = "squash"
    """How a frame is brought to the model's size: aspect keeps its shape and cuts what is too tall,
    squash distorts the whole frame, crop cuts the middle out."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16 (accelerators only) runs under autocast; the residual stream stays float32."""

    def finest(self, frame: Shape, width: int, patch: int, height: int | None = None) -> int:
        """Patches along the shorter side of a frame, by the framing.

        Args:
            frame: its height and width.
            width: in pixels, of the model's view.
            patch: its side.
            height: of the view; None is a square.
        """
        rows, columns = (height or width) // patch, width // patch
        if self.framing == "aspect":
            rows = min(rows, rows_in_proportion(frame, width, patch))
        return min(rows, columns)
