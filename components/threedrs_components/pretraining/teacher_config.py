"""How a micro teacher is trained, whatever its kind. Imports no torch."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, PositiveFloat, PositiveInt

from threedrs_platform.config import CONDUCT, Config

if TYPE_CHECKING:
    from threedrs_components.pretraining.teacher import Pretraining
    from threedrs_components.pretraining.teacher_world import TeacherWorld
    from threedrs_components.teachers.settings import TeacherSettings


class TeacherRecipe(Config):
    """How long and how fast: what a grid says in `teacher_pretraining`."""

    steps: PositiveInt = 600
    """Optimizer steps."""
    scenes_per_step: PositiveInt = 6
    """Every frame of each drawn scene is used."""
    learning_rate: PositiveFloat = 6e-3
    """The highest of the schedule, of AdamW."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Of AdamW."""
    warmup_ratio: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the steps with a rising learning rate; a cosine to zero follows."""
    clip: PositiveFloat = 1.0
    """Largest gradient norm."""
    checkpoint_every: Annotated[PositiveInt, CONDUCT] = 100
    """Steps between resumable checkpoints."""
    seed: Annotated[int, Field(ge=0)] = 0
    """What its weights start from and its scenes are drawn by; cells share one teacher, whatever
    their own seed."""


class TeacherPretraining(TeacherRecipe):
    """A recipe, and what of the teacher its training depends on. One subclass per kind."""

    kind: str
    """The teacher's."""

    @classmethod
    def of(cls, teacher: TeacherSettings, recipe: TeacherRecipe) -> Self:
        """A recipe for a teacher: whatever fields both have are the teacher's."""
        own = {name: value for name, value in teacher if name in cls.model_fields}
        return cls(**{**dict(recipe), **own})

    @property
    @abstractmethod
    def image_size(self) -> int:
        """Side in pixels that frames are squashed to."""

    @property
    def target_cells(self) -> int:
        """Side of the grid that depth and points are given on."""
        return 1

    @abstractmethod
    def build(self, world: TeacherWorld) -> Pretraining:
        """Make the model with random weights, and its loss."""
