"""Pairs of a scene against plain enumeration of its points."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from threedrs_components.scenes.pairs import PairMatrix, token_pair_matrix
from threedrs_components.scenes.prepare_config import Level


def tiny_world(
    seed: int, frames: int = 3, side: int = 5, size_m: float = 0.4
) -> tuple[Tensor, Tensor]:
    """Random points in a small room, a fifth of them without depth."""
    generator = torch.Generator().manual_seed(seed)
    points = (torch.rand(frames, side, side, 3, generator=generator) - 0.5) * size_m
    return points, torch.rand(frames, side, side, generator=generator) > 0.2


def located_points(
    points: Tensor, valid: Tensor, grid: int, level: Level
) -> list[tuple[int, int, tuple[int, ...]]]:
    """(frame, token, voxel triple) of every point, one pixel at a time."""
    frames, height, width = valid.shape
    cells: dict[tuple[int, int], list[Tensor]] = {}
    for frame, row, column in itertools.product(range(frames), range(height), range(width)):
        if valid[frame, row, column]:
            cell = [
                max(i for i in range(grid) if at >= i * size // grid)
                for at, size in ((row, height), (column, width))
            ]
            token = frame * grid * grid + cell[0] * grid + cell[1]
            cells.setdefault((frame, token), []).append(points[frame, row, column])
    if level == "token":
        cells = {key: [torch.stack(members).mean(dim=0)] for key, members in cells.items()}
    return [
        (frame, token, tuple(int(torch.round(x / 0.1)) for x in point))
        for (frame, token), members in cells.items()
        for point in members
    ]


def enumerated_pairs(located: list[tuple[int, int, tuple[int, ...]]]) -> tuple[Counter, int]:  # type: ignore[type-arg]
    """Positive pairs counted by (token, token), and the number of negative ones."""
    positive: Counter[tuple[int, int]] = Counter()
    negative = 0
    for (frame, token, voxel), (other_frame, other, other_voxel) in itertools.combinations(
        located, 2
    ):
        if frame != other_frame:
            positive[min(token, other), max(token, other)] += voxel == other_voxel
            negative += voxel != other_voxel
    return +positive, negative


@pytest.mark.parametrize("level", ["token", "pixel"])
@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10_000), side=st.integers(2, 6), size_m=st.sampled_from([0.15, 0.5, 2.0])
)
def test_pairs_equal_enumeration(level: Level, seed: int, side: int, size_m: float) -> None:
    points, valid = tiny_world(seed, side=side, size_m=size_m)
    pairs = token_pair_matrix(points, valid, grid=2, level=level)
    positive, negative = enumerated_pairs(located_points(points, valid, 2, level))
    found = zip(pairs.rows.tolist(), pairs.columns.tolist(), strict=True)
    assert dict(zip(found, pairs.counts.tolist(), strict=True)) == positive
    assert pairs.positive_pairs == positive.total()
    assert pairs.negative_pairs == negative


def test_voxels_are_counted_with_and_without_pairs() -> None:
    points, valid = tiny_world(0)
    located = located_points(points, valid, 2, "pixel")
    views_of: dict[tuple[int, ...], set[int]] = {}
    for frame, _, voxel in located:
        views_of.setdefault(voxel, set()).add(frame)
    pairs = token_pair_matrix(points, valid, grid=2)
    assert pairs.occupied_voxels == len(views_of)
    assert pairs.voxels == sum(len(views) > 1 for views in views_of.values())
    assert float(pairs.voxel_weights.sum()) == pytest.approx(1.0)


def test_a_token_without_valid_depth_is_in_no_pair() -> None:
    points, valid = tiny_world(1, side=4)
    valid[0] = False
    pairs = token_pair_matrix(points, valid, grid=2)
    assert pairs.points[:4].tolist() == [0, 0, 0, 0]
    assert int(pairs.rows.min()) >= 4


def test_one_view_has_no_pairs() -> None:
    points, valid = tiny_world(2, frames=1)
    pairs = token_pair_matrix(points, valid, grid=2)
    assert (pairs.positive_pairs, pairs.negative_pairs, pairs.voxels) == (0, 0, 0)


def test_a_scene_without_depth_has_no_pairs() -> None:
    points, valid = tiny_world(2)
    pairs = token_pair_matrix(points, torch.zeros_like(valid), grid=2)
    assert (pairs.positive_pairs, pairs.negative_pairs, pairs.occupied_voxels) == (0, 0, 0)


def test_coordinates_per_token_give_the_token_level() -> None:
    points, valid = tiny_world(3, side=4)
    pixel = token_pair_matrix(points, valid, grid=4, level="pixel")
    token = token_pair_matrix(points, valid, grid=4, level="token")
    assert pixel.positive_pairs == token.positive_pairs > 0


def test_far_voxels_keep_their_own_keys() -> None:
    """In half precision, or hashed into one float, these two would be one voxel."""
    points = torch.tensor([[[[4000.0, 0.0, 0.0]]], [[[4000.1, 0.0, 0.0]]]])
    valid = torch.ones(2, 1, 1, dtype=torch.bool)
    assert token_pair_matrix(points, valid, grid=1).positive_pairs == 0


def test_storage_keeps_every_pair() -> None:
    pairs = token_pair_matrix(*tiny_world(4), grid=2)
    again = PairMatrix.from_arrays(pairs.arrays())
    assert torch.equal(again.counts, pairs.counts)
    assert torch.equal(again.voxel_weights, pairs.voxel_weights)
    assert (again.negative_pairs, again.voxels) == (pairs.negative_pairs, pairs.voxels)


def test_a_coordinate_that_is_not_finite_names_its_frame() -> None:
    points, valid = tiny_world(5)
    points[1, 0, 0, 0], valid[1, 0, 0] = np.nan, True
    with pytest.raises(ValueError, match="frame 1: a valid pixel has a coordinate"):
        token_pair_matrix(points, valid, grid=2)
