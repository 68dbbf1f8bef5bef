"""Position probe: what it reads, what it must not read, and its algebra."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from threedrs_components.probing.position import (
    DRAWS,
    content_free_features,
    fit_ridge,
    linear_probe,
    object_features,
    r_squared,
)

Array = NDArray[np.float64]


def objects(seed: int, number: int, width: int, noise: float = 0.0) -> tuple[Array, Array]:
    """Features that hold the position in a fixed random direction, and the positions."""
    generator = np.random.default_rng(seed)
    positions = generator.uniform(-2, 2, size=(number, 2))
    carrier = np.random.default_rng(99).normal(size=(2, width))
    features = positions @ carrier + generator.normal(size=(number, width)) * noise
    return features * 50 + 7, positions


def test_position_in_the_features_is_read() -> None:
    probe = linear_probe(*objects(0, 60, 10), *objects(1, 40, 10))
    assert probe.r2 == pytest.approx((1.0, 1.0), abs=1e-3)
    assert (probe.n_fit, probe.n_test) == (60, 40)


def test_noise_is_no_better_than_the_mean() -> None:
    generator = np.random.default_rng(0)
    fit, test = objects(0, 100, 10)[1], objects(1, 80, 10)[1]
    probe = linear_probe(
        generator.normal(size=(100, 30)), fit, generator.normal(size=(80, 30)), test
    )
    assert -0.2 < probe.mean_r2 < 0.1
    assert -0.1 < probe.trivial_r2 <= 0.0
    assert probe.ridge >= 100, "noise is shrunk away"


def test_wide_features_are_read_too() -> None:
    probe = linear_probe(*objects(0, 50, 200, noise=0.1), *objects(1, 40, 200, noise=0.1))
    assert probe.mean_r2 > 0.9


@pytest.mark.parametrize("width", [5, 80])
def test_ridge_equals_its_normal_equations(width: int) -> None:
    features, targets = objects(3, 30, width, noise=0.5)
    x = (features - features.mean(0)) / features.std(0)
    y = targets - targets.mean(0)
    expected = np.linalg.solve(x.T @ x + 3.0 * np.eye(width), x.T @ y)
    assert np.allclose(fit_ridge(features, targets, [3.0])[0].weights, expected)


def test_a_constant_feature_is_ignored() -> None:
    (fit_x, fit_y), (test_x, test_y) = objects(0, 60, 10), objects(1, 40, 10)
    with_constant = linear_probe(
        np.c_[fit_x, np.full(60, 3.3)], fit_y, np.c_[test_x, np.full(40, 1e6)], test_y
    )
    assert with_constant.r2 == linear_probe(fit_x, fit_y, test_x, test_y).r2


def test_the_penalty_is_chosen_over_whole_scenes() -> None:
    """Features that name their scene explain other objects of it, but no new scene."""
    scene = np.repeat(np.arange(10), 6)
    generator = np.random.default_rng(0)
    targets = generator.normal(size=(10, 2))[scene]
    features = generator.normal(size=(10, 40))[scene]
    test = generator.normal(size=(20, 40)), generator.normal(size=(20, 2))
    apart = linear_probe(features, targets, *test)
    together = linear_probe(features, targets, *test, scenes_fit=[str(s) for s in scene])
    assert apart.ridge < 10 < 1000 < together.ridge


def test_objects_are_weighted_means_of_their_tokens() -> None:
    features = torch.arange(8.0).view(2, 2, 1, 2)
    weights = torch.zeros(3, 2, 2, 1)
    weights[0, 0, 0, 0], weights[0, 1, 1, 0] = 0.5, 1.5
    weights[2, 1, 0, 0] = 0.1
    pooled, visible = object_features(features, weights)
    assert visible.tolist() == [True, False, True]
    assert torch.allclose(pooled, torch.tensor([[4.5, 5.5], [4.0, 5.0]]))


def test_content_free_features_are_pooled_one_hot_tokens() -> None:
    torch.manual_seed(0)
    weights = torch.rand(4, 2, 3, 3) * (torch.rand(4, 2, 3, 3) > 0.5)
    one_hot = torch.eye(18).view(2, 3, 3, 18)
    expected, seen = object_features(one_hot, weights)
    control, visible = content_free_features(weights)
    assert torch.equal(visible, seen)
    assert torch.allclose(control, expected)


def test_one_scene_is_not_enough() -> None:
    features, targets = objects(0, 10, 3)
    with pytest.raises(ValueError, match="at least two scenes"):
        linear_probe(features, targets, features, targets, scenes_fit=["a"] * 10)


def test_a_value_that_is_not_finite_is_named() -> None:
    features, targets = objects(0, 10, 3)
    broken = features.copy()
    broken[4, 1] = np.inf
    with pytest.raises(ValueError, match="test object 4"):
        linear_probe(features, targets, broken, targets)


def test_the_interval_is_that_of_drawn_scenes() -> None:
    """Against draws of rows, one by one."""
    (fit, truth), (read, known) = objects(0, 60, 10, noise=60.0), objects(1, 40, 10, noise=60.0)
    scenes = [f"scene{row // 5}" for row in range(40)]
    probe = linear_probe(fit, truth, read, known, scenes_test=scenes)
    predicted = fit_ridge(fit, truth, [probe.ridge])[0](read)
    drawn = np.random.default_rng(0).integers(8, size=(DRAWS, 8))
    found = []
    for draw in drawn:
        rows = np.concatenate([np.arange(5 * scene, 5 * scene + 5) for scene in draw])
        found.append(r_squared(predicted[rows], known[rows]).mean())
    assert probe.interval == pytest.approx(tuple(np.percentile(found, (2.5, 97.5))))
    assert probe.interval is not None and probe.interval[0] < probe.mean_r2 < probe.interval[1]
    assert linear_probe(fit, truth, read, known, scenes_test=["one"] * 40).interval is None
