from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.scene import MicroScene, make_scene
from threedrs_components.scenes.picture import (
    busiest_frames,
    correspondences,
    draw_boxes,
    draw_correspondences,
    draw_voxels,
    large_view,
    object_names,
)
from threedrs_components.scenes.prepared import scene_points
from threedrs_components.scenes.rgbd_folder import RGBDFolder
from threedrs_components.scenes.voxels import voxel_indices


@pytest.fixture(scope="module")
def micro() -> MicroScene:
    return make_scene(MicroWorldConfig(), "train", 3)


def test_pictures_have_the_width_asked_for(micro: MicroScene) -> None:
    scene = large_view(micro, 60, 80)
    frames = busiest_frames(micro, 3)
    for picture in (
        draw_boxes(scene, frames, object_names(micro), width=300),
        draw_voxels(scene, frames, width=300),
    ):
        assert picture.size == (300, 72)
    assert draw_correspondences(scene, frames[0], frames[1], width=300).width == 300


def test_boxes_change_only_frames_that_show_objects(micro: MicroScene) -> None:
    scene = large_view(micro, 60, 80)
    drawn = np.asarray(draw_boxes(scene, [0], object_names(micro), width=80))
    assert (drawn != scene.images[0]).any(-1).mean() > 0.02


def test_corresponding_pixels_share_a_voxel(micro: MicroScene) -> None:
    scene = micro.record()
    i, j = busiest_frames(micro, 2)
    first, second = correspondences(scene, i, j, voxel_m=0.2, most=12)
    points, _ = scene_points(scene)
    a = points[i][torch.from_numpy(first).unbind(1)]
    b = points[j][torch.from_numpy(second).unbind(1)]
    assert len(first) == len(second) == 12
    assert torch.equal(voxel_indices(a, 0.2), voxel_indices(b, 0.2))


def test_frames_without_a_common_voxel_have_no_lines(micro: MicroScene) -> None:
    first, second = correspondences(micro.record(), 0, 1, voxel_m=0.0001, most=12)
    assert first.shape == second.shape == (0, 2)


def test_real_frames_can_be_drawn(redkitchen: Path) -> None:
    scene = RGBDFolder(redkitchen, num_frames=3).load("redkitchen")
    assert draw_correspondences(scene, 0, 1, width=200).size == (200, 73)
