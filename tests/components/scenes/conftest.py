"""A small written world and a writer of tiny scene folders, shared by the tests of this room."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.write import write_world

SMALL = MicroWorldConfig(train=9, text=4, val=4, teacher_scenes=3)


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    write_world(SMALL, root)
    return root


@pytest.fixture(scope="session")
def redkitchen() -> Path:
    default = Path(__file__).parents[3] / ".." / "shared"
    folder = Path(os.environ.get("THREEDRS_SHARED", default)) / "data" / "redkitchen"
    if not folder.is_dir():
        pytest.skip(f"real frames are not here ({folder.resolve()}); set THREEDRS_SHARED")
    return folder


class SceneFolder:
    """A well-formed 7-Scenes folder of three 8 x 6 frames, for tests to spoil."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True)
        rng = np.random.default_rng(0)
        self.write_matrix("camera-intrinsics.txt", np.diag([5.0, 5.0, 1.0]))
        for name in self.names:
            color = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
            Image.fromarray(color).save(root / f"{name}.color.png")
            self.write_depth(name, rng.integers(500, 3000, (6, 8), dtype=np.uint16))
            self.write_matrix(f"{name}.pose.txt", np.eye(4))

    @property
    def names(self) -> list[str]:
        return [f"frame-{index:06d}" for index in range(3)]

    def write_depth(self, name: str, millimetres: NDArray[np.uint16]) -> None:
        Image.fromarray(millimetres).save(self.root / f"{name}.depth.png")

    def write_matrix(self, file: str, matrix: NDArray[np.float64]) -> None:
        np.savetxt(self.root / file, matrix)


@pytest.fixture
def scene_folder(tmp_path: Path) -> SceneFolder:
    return SceneFolder(tmp_path / "kitchen")
