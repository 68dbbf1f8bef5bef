"""What can be chosen about the probes. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from threedrs_components.scenes.prepare_config import Level
from threedrs_platform.config import Config


class ProbeConfig(Config):
    """Correspondence score and position probe of one student."""

    layer: int = -1
    """Hidden states to probe: -1 is the last, after the final norm."""
    level: Level = "pixel"
    """Level of the correspondence pairs; see CorrespondenceConfig."""
    voxel_m: float = Field(default=0.1, gt=0)
    position_axes: Literal["xy", "xyz"] = "xy"
    """Axes of the object centre that the position probe reads; height leaks through image rows."""
    ridge: tuple[float, ...] = Field(default=(1e-1, 1.0, 1e1, 1e2, 1e3, 1e4, 1e5), min_length=1)
    """Ridge penalties to choose from, inside the fit scenes."""
    folds: int = Field(default=5, ge=2)
    """Cross-validation folds for that choice; whole scenes go into one fold."""
