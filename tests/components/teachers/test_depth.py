"""A teacher's depth: what is stored of it, in which unit, and of which teachers there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from threedrs_components.scenes.frames import frame_tensor
from threedrs_components.teachers.depth import DepthOf, depth_of
from threedrs_components.teachers.extraction import extract_scene, header_of
from threedrs_components.teachers.map_choices import DEPTH_AND_WEIGHT
from threedrs_components.teachers.registry import TEACHERS, load_teacher
from threedrs_components.teachers.teacher import DepthTeacher
from threedrs_components.testing.teacher_checkpoints import (
    tiny_scene,
    tiny_teacher,
    write_tiny_checkpoint,
)
from threedrs_platform.errors import ConfigError

torch.set_num_threads(1)

GIVING = [kind for kind in TEACHERS if TEACHERS[kind].gives_depth]
every_giver = pytest.mark.parametrize("kind", GIVING)


@pytest.mark.parametrize("kind", TEACHERS)
def test_a_kind_says_whether_it_gives_depth(kind: str, tmp_path: Path) -> None:
    teacher = tiny_teacher(kind, tmp_path).build()
    assert isinstance(teacher, DepthTeacher) == TEACHERS[kind].gives_depth
    if not TEACHERS[kind].gives_depth:
        with pytest.raises(ConfigError, match=r"gives no depth; vggt, da3 and pi3 do"):
            depth_of(teacher)


def test_they_are_those_that_messages_name() -> None:
    assert sorted(GIVING) == ["da3", "pi3", "vggt"]


@every_giver
def test_cells_are_plain_means_in_units_of_the_scenes_mean(kind: str, tmp_path: Path) -> None:
    scene, grid = tiny_scene(), 2
    config = tiny_teacher(kind, tmp_path, framing="squash")
    stored = extract_scene(depth_of(config.build()), scene, grid).features.astype(np.float32)
    whole = config.build().depth_maps(frame_tensor(scene.images))  # type: ignore[attr-defined]
    frames, height, width, _ = whole.shape
    slow = np.zeros((frames, grid, grid, 2), np.float32)
    for f, row, column in np.ndindex(frames, grid, grid):
        rows = slice(row * height // grid, (row + 1) * height // grid)
        columns = slice(column * width // grid, (column + 1) * width // grid)
        slow[f, row, column] = whole[f, rows, columns].mean((0, 1))
    slow[..., 0] /= float(whole[..., 0].mean())
    np.testing.assert_allclose(stored, slow, rtol=2e-3)
    assert stored[..., 0].mean() == pytest.approx(1, abs=2e-3)
    assert (stored > 0).all() and np.unique(stored[..., 1]).size > 1


def test_weights_are_logarithms_of_confidence_and_of_pi3_its_probability(tmp_path: Path) -> None:
    scene = frame_tensor(tiny_scene().images)
    teacher: Any
    pi3: Any
    for kind in ("vggt", "da3"):
        teacher = load_teacher(kind, str(write_tiny_checkpoint(kind, tmp_path / kind)))
        confidence = teacher.depth(teacher.frame_size(scene)[None]).confidence[0]
        torch.testing.assert_close(teacher.depth_maps(scene)[..., 1], confidence.log())
    pi3 = load_teacher("pi3", str(write_tiny_checkpoint("pi3", tmp_path / "pi3")))
    depth, weight = pi3.depth_maps(scene).unbind(-1)
    assert "camera" not in pi3._heads  # depth needs none
    found = pi3.points(pi3.frame_size(scene)[None])
    torch.testing.assert_close(weight, found.confidence[0].sigmoid())
    torch.testing.assert_close(depth, found.local_points[0, ..., 2])


@every_giver
def test_its_files_say_that_they_are_of_depth(kind: str, tmp_path: Path) -> None:
    teacher = tiny_teacher(kind, tmp_path).build()
    depth = depth_of(teacher)
    assert isinstance(depth, DepthOf) and header_of(depth.card).output == DEPTH_AND_WEIGHT
    assert depth.grid == teacher.grid and depth.seen(3, 4) == teacher.seen(3, 4)
