"""What can be chosen about the probes. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, field_validator

from threedrs_components.scenes.prepare_config import Level
from threedrs_components.students.places import Place, refuse_twice
from threedrs_platform.config import LATER, Config

Reading = Literal["position", "correspondence", "depth", "normals", "instance"]


class ProbeConfig(Config):
    """What is read of the states of one student, and at which places."""

    layer: Place = -1
    """Hidden states to probe: -1 is the last, after the final norm; tower and projector are what
    comes before the language model."""
    places: Annotated[tuple[Place, ...] | Literal["every"], LATER] = ()
    """Further places, read in the same pass of the student; see `report.layer_map`. A teacher's
    stored features have one place."""
    reads: Annotated[tuple[Reading, ...], Field(min_length=1), LATER] = (
        "position",
        "correspondence",
    )
    """position: of objects. correspondence: of cells across views. depth: of cells, in metres.
    normals: of cells, in the camera's axes. instance: whether two cells show one object."""
    cells: Annotated[PositiveInt, LATER] = 32
    """Cells of each scene that depth and normals are read from, drawn alike at every place."""
    level: Level = "pixel"
    """Level of the correspondence pairs; see CorrespondenceConfig."""
    voxel_m: float = Field(default=0.1, gt=0)
    """Side in metres of the voxels in which different views see the same place; the paper's is
    0.1."""
    position_axes: Literal["xy", "xyz"] = "xy"
    """Axes of the object centre that the position probe reads; height leaks through image rows."""
    ridge: tuple[float, ...] = Field(default=(1e-1, 1.0, 1e1, 1e2, 1e3, 1e4, 1e5), min_length=1)
    """Ridge penalties to choose from, inside the fit scenes."""
    folds: int = Field(default=5, ge=2)
    """Cross-validation folds for that choice; whole scenes go into one fold."""

    @field_validator("places")
    @classmethod
    def _each_once(
        cls, places: tuple[Place, ...] | Literal["every"]
    ) -> tuple[Place, ...] | Literal["every"]:
        return places if places == "every" else refuse_twice(places)

    @property
    def named_places(self) -> tuple[Place, ...]:
        """The places that stand in the settings."""
        return (self.layer, *(() if isinstance(self.places, str) else self.places))
