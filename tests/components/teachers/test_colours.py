"""Mean colours: a teacher without weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from threedrs_components.teachers.colours import RGBConfig
from threedrs_components.teachers.registry import load_teacher
from threedrs_components.testing.teacher_checkpoints import tiny_scene
from threedrs_platform.errors import ConfigError


def test_features_are_mean_colours_of_cells() -> None:
    scene = tiny_scene()
    expected = scene.images[1, 12:24, 16:32].reshape(-1, 3).mean(axis=0) / 127.5 - 1
    features = load_teacher("rgb", grid=4).scene_features(scene)
    assert features.shape == (3, 4, 4, 3)
    assert features[1, 1, 1].numpy() == pytest.approx(expected, abs=1e-6)


def test_every_pixel_lies_in_one_cell_where_they_do_not_divide() -> None:
    frames = torch.zeros(1, 3, 10, 10)
    frames[0, 0, 9] = 1.0
    features = load_teacher("rgb", grid=3).features(frames)
    np.testing.assert_allclose(features[0, :, 0, 0], [-1, -1, 2 / 4 - 1], atol=1e-6)


def test_the_grid_follows_what_the_features_are_for() -> None:
    assert RGBConfig().build().grid == 14
    assert RGBConfig().at_grid(20).build().grid == 20


def test_more_cells_than_pixels_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"teacher\.grid: 50 cells do not fit across .*64 x 48"):
        load_teacher("rgb", grid=50).scene_features(tiny_scene())


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"checkpoint": "x"}, r"teacher\.checkpoint: the model 'rgb' has no weights; leave it out"),
        ({"layer": 3}, r"teacher\.layer: the model 'rgb' has no layers; leave it out"),
        ({"sees": "3d"}, r"teacher\.sees: expected 'nothing', got \"3d\""),
    ],
)
def test_what_colours_do_not_have_is_refused(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        load_teacher("rgb", **fields)
