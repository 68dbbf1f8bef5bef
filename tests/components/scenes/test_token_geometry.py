"""Depth, normals and rays of token cells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.scene import make_scene
from threedrs_components.scenes.prepared import (
    PrepareConfig,
    PreparedScenes,
    prepare_scene,
    scene_geometry,
    scene_points,
    write_prepared,
)
from threedrs_components.scenes.token_geometry import STORED, surface_normals
from threedrs_platform.errors import DataError
from threedrs_platform.records import Scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(MicroWorldConfig(), "train", 0).record()


def test_a_cell_is_as_deep_as_its_valid_pixels(scene: Scene) -> None:
    depth = scene.depth.copy()
    depth[0, :16, :16], depth[1, 3, 5] = 0, np.nan
    for invalid in ("masked", "camera_centre"):
        config = PrepareConfig(invalid_depth=invalid, arithmetic="bfloat16")
        found = scene_geometry(prepare_scene(replace(scene, depth=depth), None, config)).depths
        for frame, row, column in ((0, 0, 1), (1, 0, 0), (7, 3, 2)):
            cell = depth[frame, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16]
            assert float(found[frame, row, column]) == pytest.approx(np.nanmean(cell), rel=1e-5)
        assert found[0, 0, 0] == 0


@pytest.mark.parametrize("resize", ["squash", "crop"])
@pytest.mark.parametrize("reference", [0, 2])
def test_rays_lead_to_what_is_seen(scene: Scene, resize: str, reference: int) -> None:
    """One pixel per cell: its point is the camera's centre plus depth times direction."""
    size = scene.depth.shape[1]
    config = PrepareConfig.model_validate({"grid": size, "resize": resize})
    found = scene_geometry(prepare_scene(scene, None, config))
    maps = found.ray_maps(reference)
    points, valid = scene_points(scene)
    seen = maps[..., 3:] + found.depths[..., None] * maps[..., :3]
    placed = seen @ found.cameras[reference, :3, :3].T + found.cameras[reference, :3, 3]
    torch.testing.assert_close(placed[valid], points[valid], rtol=1e-4, atol=1e-4)
    assert maps[reference, ..., 3:].abs().max() < 1e-6


def test_a_wall_faces_the_camera() -> None:
    """z = 2 + x / 2 in the camera's axes, and an edge behind which nothing is a surface."""
    across, down = torch.meshgrid(torch.linspace(-1, 1, 8), torch.linspace(-1, 1, 8), indexing="xy")
    points = torch.stack([across, down, 2 + across / 2], dim=-1)[None].clone()
    points[:, :, 4:] += torch.tensor([0.0, 0.0, 3.0])
    valid = torch.ones(1, 8, 8, dtype=torch.bool)
    valid[0, 0, 0] = False
    normals, known = surface_normals(points, valid, torch.zeros(1, 3))
    expected = torch.tensor([0.5, 0.0, -1.0]) / 1.25**0.5
    torch.testing.assert_close(normals[known], expected.expand(int(known.sum()), 3))
    assert not known[0, 0, 0] and not known[0, :, 3].any() and not known[0, :, 7].any()
    assert int(known.sum()) == 7 * 6 - 1


def test_normals_of_a_room_are_those_of_its_walls(scene: Scene) -> None:
    """In the world's axes most of a rendered room faces along an axis."""
    found = scene_geometry(prepare_scene(scene, None, PrepareConfig(grid=32)))
    world = torch.einsum("fij,frcj->frci", found.cameras[:, :3, :3], found.normals)
    lengths = found.normals.norm(dim=-1)
    some = lengths > 0
    assert lengths[some].sub(1).abs().max() < 1e-5 and some.float().mean() > 0.9
    assert (world[some].abs().amax(-1) > 0.99).float().mean() > 0.7


def test_a_file_from_before_is_refused_with_the_cure(scene: Scene, tmp_path: Path) -> None:
    prepared = prepare_scene(scene, None, PrepareConfig())
    write_prepared(prepared, tmp_path / "now")
    read = scene_geometry(PreparedScenes(tmp_path / "now")[scene.scene_id]).tensors()
    assert set(read) == set(STORED)
    for name, value in scene_geometry(prepared).tensors().items():
        assert torch.equal(read[name], value)
    write_prepared(replace(prepared, geometry=None), tmp_path / "before")
    with pytest.raises(DataError, match="prepare it again"):
        scene_geometry(PreparedScenes(tmp_path / "before")[scene.scene_id])
