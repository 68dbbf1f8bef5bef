"""Correspondence scores against every pair taken one at a time."""

from __future__ import annotations

import itertools
import math
from dataclasses import fields

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from threedrs_components.probing.correspondence import correspondence_score
from threedrs_components.scenes.pairs import token_pair_matrix

GRID = 2


def world(seed: int, frames: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    points = (torch.rand(frames, 4, 4, 3, generator=generator) - 0.5) * 0.25
    return points, torch.rand(frames, 4, 4, generator=generator) > 0.2


def random_features(seed: int, frames: int = 3, width: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(frames * GRID * GRID, width, generator=generator, dtype=torch.float64)


def cosines_by_kind(
    features: Tensor, points: Tensor, valid: Tensor
) -> tuple[list[float], list[float], dict[tuple[int, ...], list[float]]]:
    """Cosines of positive pairs, of negative pairs, and of positive pairs by voxel."""
    located = []
    for frame, row, column in valid.nonzero().tolist():
        token = frame * GRID * GRID + row // 2 * GRID + column // 2
        voxel = tuple(torch.round(points[frame, row, column] / 0.1).long().tolist())
        located.append((frame, token, voxel))
    positive, negative = [], []
    by_voxel: dict[tuple[int, ...], list[float]] = {}
    for (frame, token, voxel), (view, other, place) in itertools.combinations(located, 2):
        if frame != view:
            cosine = float(cosine_similarity(features[token], features[other], dim=0))
            if voxel == place:
                positive.append(cosine)
                by_voxel.setdefault(voxel, []).append(cosine)
            else:
                negative.append(cosine)
    return positive, negative, by_voxel


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_the_mean_over_single_pairs(seed: int) -> None:
    points, valid = world(seed)
    features = random_features(seed)
    positive, negative, by_voxel = cosines_by_kind(features, points, valid)
    result = correspondence_score(features, token_pair_matrix(points, valid, grid=GRID))
    assert result.pairs == len(positive)
    assert result.voxels == len(by_voxel)
    assert (result.frames, result.tokens) == (3, 12)
    assert result.score == pytest.approx(mean(positive), abs=1e-12)
    assert result.negative_mean == pytest.approx(mean(negative), abs=1e-12)
    assert result.margin == pytest.approx(mean(positive) - mean(negative), abs=1e-12)
    voxel_means = [mean(cosines) for cosines in by_voxel.values()]
    assert result.mean_of_voxels == pytest.approx(mean(voxel_means), abs=1e-12)


def test_standardised_score_is_the_score_of_standardised_features() -> None:
    points, valid = world(0)
    features = random_features(0) * torch.arange(1, 8) + 30
    plain = (features - features.mean(dim=0)) / features.std(dim=0, correction=0)
    positive, negative, _ = cosines_by_kind(plain, points, valid)
    result = correspondence_score(features, token_pair_matrix(points, valid, grid=GRID))
    assert result.score > 0.8, "anisotropic features score high"
    assert result.standardised == pytest.approx(mean(positive), abs=1e-12)
    assert result.standardised_margin == pytest.approx(mean(positive) - mean(negative), abs=1e-12)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2), (torch.float16, 2e-3)]
)
def test_narrow_types_agree_with_float64(dtype: torch.dtype, tolerance: float) -> None:
    pairs = token_pair_matrix(*world(0), grid=GRID)
    exact = correspondence_score(random_features(0), pairs)
    narrow = correspondence_score(random_features(0).to(dtype), pairs)
    for field in fields(exact):
        expected = pytest.approx(getattr(exact, field.name), abs=tolerance)
        assert getattr(narrow, field.name) == expected, field.name


def test_features_wider_than_one_block_score_the_same() -> None:
    pairs = token_pair_matrix(*world(0), grid=GRID)
    features = random_features(0, width=1100)
    padded = torch.cat([features, torch.zeros_like(features)], dim=1)
    assert correspondence_score(padded, pairs).score == pytest.approx(
        correspondence_score(features, pairs).score, abs=1e-12
    )


def test_collapsed_features_score_one_with_no_margin() -> None:
    pairs = token_pair_matrix(*world(1), grid=GRID)
    result = correspondence_score(torch.full((12, 5), 3.0), pairs)
    assert result.score == pytest.approx(1.0, abs=1e-6)
    assert result.margin == pytest.approx(0.0, abs=1e-6)
    assert result.standardised == 0.0


def test_features_that_name_their_voxel_have_the_full_margin() -> None:
    """Two views of two far points: positives are equal, negatives orthogonal."""
    points = torch.tensor([[0.0, 0, 0], [1.0, 0, 0]]).view(1, 1, 2, 3).repeat(2, 2, 1, 1)
    pairs = token_pair_matrix(points, torch.ones(2, 2, 2, dtype=torch.bool), grid=2)
    features = torch.eye(2).repeat(4, 1)
    result = correspondence_score(features, pairs)
    assert (result.score, result.margin, result.pairs) == (1.0, 1.0, 8)


def test_order_of_frames_does_not_matter() -> None:
    points, valid = world(2)
    features = random_features(2)
    order = [2, 0, 1]
    shuffled = features.view(3, 4, -1)[order].reshape(12, -1)
    first = correspondence_score(features, token_pair_matrix(points, valid, grid=GRID))
    second = correspondence_score(
        shuffled, token_pair_matrix(points[order], valid[order], grid=GRID)
    )
    for field in fields(first):
        assert getattr(first, field.name) == pytest.approx(getattr(second, field.name), abs=1e-12)


def test_features_of_a_token_without_depth_do_not_count() -> None:
    points, valid = world(3)
    valid[0, :2, :2] = False
    pairs = token_pair_matrix(points, valid, grid=GRID)
    features = random_features(3)
    before = correspondence_score(features, pairs)
    features[0] = 1e6
    after = correspondence_score(features, pairs)
    assert (after.score, after.margin) == (before.score, before.margin)


def test_a_scene_without_pairs_has_no_score() -> None:
    points, valid = world(0, frames=1)
    result = correspondence_score(
        random_features(0, frames=1), token_pair_matrix(points, valid, grid=GRID)
    )
    assert result.pairs == 0
    assert math.isnan(result.score) and math.isnan(result.mean_of_voxels)


def test_features_of_another_grid_are_refused() -> None:
    pairs = token_pair_matrix(*world(0), grid=GRID)
    with pytest.raises(ValueError, match=r"\(27, 4\).*12 tokens \(3 frames x 4\)"):
        correspondence_score(torch.zeros(27, 4), pairs)
