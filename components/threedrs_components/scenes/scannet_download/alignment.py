"""A scene's `.txt`: the rotation about z that turns its walls along x and y."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from threedrs_components.scenes.scannet_download.sens import is_rigid
from threedrs_components.scenes.unreadable import scene_errors
from threedrs_platform.records import Float32

SIX_DECIMALS = 1e-4
"""How far a rotation that is written with six decimals may be from orthogonal, and some more."""


def read_alignment(scene_id: str, path: Path) -> NDArray[np.float64] | None:
    """Read the line `axisAlignment = 16 numbers` as [4, 4]; None if the file has no such line.

    Raises:
        SceneError: the file is missing, or the line holds no rigid motion.
    """
    with scene_errors(scene_id, path, "file of the axis alignment"):
        for line in path.read_text().splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "axisAlignment":
                matrix = np.array([float(word) for word in value.split()]).reshape(4, 4)
                if not is_rigid(matrix.astype(np.float32), SIX_DECIMALS):
                    raise ValueError("axisAlignment is no rigid motion")
                return matrix
    return None


def aligned(vertices: Float32, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vertices [V, 3] in the axis-aligned frame, in float64."""
    return vertices.astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
