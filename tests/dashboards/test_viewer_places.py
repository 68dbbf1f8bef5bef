"""Which tokens see the same place: against counting every pair of points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from threedrs_components.scenes.prepared import PreparedScene, scene_points
from threedrs_components.scenes.voxels import voxel_indices, voxel_keys
from threedrs_dashboards.viewer.cells import view_cells
from threedrs_dashboards.viewer.places import Places, Token
from threedrs_dashboards.viewer.scene_data import SceneData, open_scene, point_cloud
from threedrs_platform.workspace import find_workspace


@pytest.fixture(scope="module")
def data(tiny_root: Path) -> SceneData:
    with find_workspace(str(tiny_root), environment={}) as workspace:
        (cell,) = view_cells(workspace.database, "tiny-1", [("vggt", 1)])
        return open_scene(cell, "val00000", workspace.store)


@pytest.fixture(scope="module")
def scene(data: SceneData) -> PreparedScene:
    return data.prepared


def test_tokens_are_numbered_frame_by_frame_and_row_by_row() -> None:
    numbers = [Token.numbered(number, 4).number(4) for number in range(40)]
    assert numbers == list(range(40))
    assert Token.numbered(23, 4) == Token(1, 1, 3)


def test_matches_count_the_point_pairs_in_one_voxel(data: SceneData, scene: PreparedScene) -> None:
    assert data.frames is not None
    points, valid = scene_points(data.frames)
    keys = voxel_keys(voxel_indices(points, scene.voxel_m)).reshape(valid.shape)
    side = valid.shape[1] // scene.grid
    chosen, places = Token(0, 2, 1), Places(scene)
    found = places.matches(chosen.number(scene.grid))

    def voxels(token: Token) -> torch.Tensor:
        rows = slice(token.row * side, (token.row + 1) * side)
        columns = slice(token.column * side, (token.column + 1) * side)
        return keys[token.frame, rows, columns][valid[token.frame, rows, columns]]

    own = voxels(chosen)
    for number in range(found.size):
        other = Token.numbered(number, scene.grid)
        pairs = int((own[:, None] == voxels(other)[None]).sum()) if other.frame else 0
        assert found.reshape(-1)[number] == pairs
    assert found.any()


def test_links_count_the_token_pairs_of_two_frames(scene: PreparedScene) -> None:
    places = Places(scene)
    links = places.links()
    per_frame = scene.grid**2
    first = sum(int((places.matches(token)[1] > 0).sum()) for token in range(per_frame))
    assert links[0, 1] == links[1, 0] == first
    assert not links.diagonal().any()


def test_first_views_share_much_and_stand_apart(data: SceneData, scene: PreparedScene) -> None:
    places = Places(scene)
    cameras = data.cameras
    assert cameras is not None
    first, second = places.telling_views(cameras)
    apart = np.linalg.norm(cameras[:, None] - cameras[None], axis=-1)
    assert places.links()[first, second] * apart[first, second] == (places.links() * apart).max()
    token = places.telling_token(first, second)
    assert token.frame == first
    assert places.matches(token.number(scene.grid))[second].any()


def test_a_cloud_is_bounded_and_coloured(data: SceneData) -> None:
    cloud = point_cloud(data, 500)
    assert 450 <= len(cloud.points) <= 500 and len(cloud.colours) == len(cloud.points)
    low, high = cloud.points.min(0), cloud.points.max(0)
    boxes = data.prepared.boxes.numpy()
    assert (boxes[:, :3] >= low - 0.5).all() and (boxes[:, :3] <= high + 0.5).all()


def test_without_frames_the_tokens_places_are_drawn(scene: PreparedScene) -> None:
    cloud = point_cloud(SceneData(scene, None, "gone"), 10_000)
    assert len(cloud.points) == int((scene.counts > 0).sum())
