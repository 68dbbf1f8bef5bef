"""Features as pictures, checked against what they must show."""

from __future__ import annotations

import numpy as np
import pytest

from threedrs_dashboards.viewer.maps import cosines, heat, principal_colours
from threedrs_dashboards.viewer.pictures import depth_colours
from threedrs_dashboards.viewer.views import heat_colour

RANDOM = np.random.default_rng(3)


def test_colours_are_the_leading_principal_components() -> None:
    features = RANDOM.standard_normal((4, 5, 5, 9)) * np.array([9, 5, 3, *[0.1] * 6])
    colours = principal_colours(features).reshape(-1, 3).astype(float)
    centred = (features - features.mean((0, 1, 2))).reshape(-1, 9)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    for channel in range(3):
        exact = left[:, channel] * sizes[channel]
        assert abs(np.corrcoef(colours[:, channel], exact)[0, 1]) > 0.98


def test_equal_features_have_equal_colours_however_scaled() -> None:
    features = RANDOM.standard_normal((2, 4, 4, 16)).astype(np.float32)
    assert np.array_equal(principal_colours(features), principal_colours(features.copy()))
    assert (
        np.abs(
            principal_colours(features).astype(int)
            - principal_colours(features * 8 + 1).astype(int)
        ).max()
        <= 1
    )


@pytest.mark.parametrize("channels", [1, 2])
def test_few_channels_leave_colours_empty(channels: int) -> None:
    colours = principal_colours(RANDOM.standard_normal((2, 3, 3, channels)))
    assert colours.shape == (2, 3, 3, 3)
    assert not colours[..., channels:].any() and colours[..., 0].any()


def test_constant_features_have_one_colour() -> None:
    assert len(np.unique(principal_colours(np.ones((2, 3, 3, 4))).reshape(-1, 3), axis=0)) == 1


def test_cosines_are_those_of_unit_features() -> None:
    features = RANDOM.standard_normal((3, 2, 2, 6)).astype(np.float32)
    flat = features.reshape(-1, 6)
    found = cosines(features, 5).reshape(-1)
    for token, vector in enumerate(flat):
        wanted = vector @ flat[5] / np.linalg.norm(vector) / np.linalg.norm(flat[5])
        assert found[token] == pytest.approx(wanted, abs=1e-6)


def test_a_token_without_features_is_like_nothing() -> None:
    features = np.zeros((1, 1, 2, 3), np.float32)
    features[0, 0, 1] = 1
    assert cosines(features, 0).tolist() == [[[0.0, 0.0]]]
    assert cosines(features, 1).reshape(-1).tolist() == pytest.approx([0.0, 1.0])


def test_heat_spans_what_is_shown() -> None:
    assert heat(np.array([0.25, 0.5, 0.75], np.float32)).tolist() == [0.0, 0.5, 1.0]
    assert heat(np.array([0.3, 0.3], np.float32)).tolist() == [0.0, 0.0]
    assert (heat_colour(0.0), heat_colour(1.0)) == ("#0d0887", "#f0f921")


def test_depth_gets_darker_with_distance_and_black_where_unknown() -> None:
    drawn = depth_colours(np.array([[[1.0, 2.0, 4.0, 0.0]]], np.float32)).astype(int).sum(-1)[0, 0]
    assert drawn[0] > drawn[1] > drawn[2] > drawn[3] == 0
