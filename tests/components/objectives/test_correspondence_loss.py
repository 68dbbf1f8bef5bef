"""Correspondence loss and its gradient against autograd over every pair of pixels."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from threedrs_components.objectives.correspondence_loss import correspondence_loss
from threedrs_components.scenes.pairs import token_pair_matrix

GRID = 2


def gradient_of(loss: Tensor, features: Tensor) -> Tensor:
    return torch.autograd.grad(loss, features)[0]


def world(seed: int, frames: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    points = (torch.rand(frames, 6, 6, 3, generator=generator) - 0.5) * 0.4
    return points, torch.rand(frames, 6, 6, generator=generator) > 0.2


def random_features(seed: int, dtype: torch.dtype, frames: int = 3, width: int = 9) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(frames * GRID * GRID, width, generator=generator, dtype=torch.float64) + 1
    return values.to(dtype).requires_grad_()


def plain_loss(features: Tensor, points: Tensor, valid: Tensor, negative_weight: float) -> Tensor:
    """The paper's equation over a pixels x pixels matrix."""
    frame, row, column = valid.nonzero().unbind(dim=1)
    tokens = frame * GRID * GRID + row // 3 * GRID + column // 3
    voxels = torch.round(points[valid] / 0.1).long()
    unit = normalize(features.double()[tokens], dim=1)
    cosines = unit @ unit.T
    same = (voxels[:, None] == voxels[None]).all(dim=2)
    across = frame[:, None] != frame[None]
    return (1 - cosines[same & across]).mean() + negative_weight * cosines[~same & across].mean()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("negative_weight", [1.0, 0.0, 0.3])
def test_value_and_gradient_equal_all_pairs(
    dtype: torch.dtype, tolerance: float, negative_weight: float
) -> None:
    points, valid = world(0)
    features = random_features(0, dtype)
    pairs = token_pair_matrix(points, valid, grid=GRID)
    loss, _ = correspondence_loss(features, pairs, negative_weight=negative_weight)
    expected = plain_loss(features, points, valid, negative_weight)
    assert loss.dtype == dtype
    assert loss.item() == pytest.approx(expected.item(), rel=tolerance)
    gradient, plain = gradient_of(loss, features), gradient_of(expected, features)
    assert float((gradient - plain).abs().max()) < tolerance * float(plain.abs().max())


def test_gradient_passes_gradcheck_at_both_levels() -> None:
    points, valid = world(1)
    for level in ("token", "pixel"):
        pairs = token_pair_matrix(points, valid, grid=GRID, level=level, voxel_m=0.2)
        assert pairs.positive_pairs > 0
        features = random_features(1, torch.float64)
        assert torch.autograd.gradcheck(lambda f, p=pairs: correspondence_loss(f, p)[0], features)


def test_gradient_spans_column_blocks() -> None:
    points, valid = world(2)
    features = random_features(2, torch.float64, width=1100)
    loss, _ = correspondence_loss(features, token_pair_matrix(points, valid, grid=GRID))
    gradient = gradient_of(loss, features)
    plain = gradient_of(plain_loss(features, points, valid, 1.0), features)
    assert torch.allclose(gradient, plain, rtol=1e-10, atol=1e-16)


def test_parts_are_the_two_means() -> None:
    points, valid = world(0)
    pairs = token_pair_matrix(points, valid, grid=GRID)
    loss, parts = correspondence_loss(random_features(0, torch.float64), pairs, negative_weight=2.0)
    positive, negative = parts["correspondence/positive"], parts["correspondence/negative"]
    assert loss.item() == pytest.approx(1 - positive + 2 * negative)


def test_bfloat16_gradient_has_the_type_of_the_features() -> None:
    points, valid = world(0)
    pairs = token_pair_matrix(points, valid, grid=GRID)
    features = random_features(0, torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss, _ = correspondence_loss(features, pairs)
    assert loss.dtype == torch.float32
    assert gradient_of(loss, features).dtype == torch.bfloat16
    exact, _ = correspondence_loss(features.detach().double(), pairs)
    assert loss.item() == pytest.approx(exact.item(), abs=1e-6), "only the features are rounded"


def test_outer_gradient_scales_the_inner() -> None:
    points, valid = world(0)
    pairs = token_pair_matrix(points, valid, grid=GRID)
    features = random_features(0, torch.float64)
    loss, _ = correspondence_loss(features, pairs)
    (once,) = torch.autograd.grad(loss, features, retain_graph=True)
    thrice = gradient_of(3 * loss, features)
    assert torch.allclose(thrice, 3 * once)


def test_a_scene_without_pairs_has_no_loss() -> None:
    points, valid = world(0, frames=1)
    features = random_features(0, torch.float32, frames=1)
    loss, _ = correspondence_loss(features, token_pair_matrix(points, valid, grid=GRID))
    assert loss.item() == 0.0
    assert not gradient_of(loss, features).any()


def test_a_token_without_depth_gets_no_gradient() -> None:
    points, valid = world(3)
    valid[1, :3, :3] = False
    features = random_features(3, torch.float32)
    loss, _ = correspondence_loss(features, token_pair_matrix(points, valid, grid=GRID))
    gradient = gradient_of(loss, features)
    assert not gradient[4].any()
    assert gradient[5].any()


def test_a_step_down_the_gradient_lowers_the_loss() -> None:
    points, valid = world(4)
    pairs = token_pair_matrix(points, valid, grid=GRID)
    features = random_features(4, torch.float32)
    loss, _ = correspondence_loss(features, pairs)
    stepped = features - 10 * gradient_of(loss, features)
    lower, _ = correspondence_loss(stepped.detach(), pairs)
    assert lower.item() < loss.item()


@pytest.mark.gpu
def test_a_gpu_gives_the_same_loss_and_gradient() -> None:
    points, valid = world(0)
    pairs = token_pair_matrix(points, valid, grid=GRID)
    features = random_features(0, torch.float32, width=1100)
    on_gpu = features.detach().cuda().requires_grad_()
    loss, _ = correspondence_loss(features, pairs)
    gpu_loss, _ = correspondence_loss(on_gpu, pairs.to("cuda"))
    assert gpu_loss.item() == pytest.approx(loss.item(), rel=1e-5)
    expected = gradient_of(loss, features)
    assert torch.allclose(gradient_of(gpu_loss, on_gpu).cpu(), expected, rtol=1e-4, atol=1e-8)
