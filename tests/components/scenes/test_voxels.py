from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from threedrs_components.scenes.voxels import voxel_indices, voxel_keys

TRIPLES = st.lists(st.tuples(*[st.integers(-2000, 2000)] * 3), min_size=1, max_size=30)


def test_a_point_goes_to_the_nearest_voxel() -> None:
    points = torch.tensor([[0.04, 0.06, -0.06], [1.24, -3.01, 20.0]])
    assert voxel_indices(points).tolist() == [[0, 1, -1], [12, -30, 200]]


def test_the_voxel_size_counts() -> None:
    assert voxel_indices(torch.tensor([1.0, 0.3, -0.6]), voxel_m=0.5).tolist() == [2, 1, -1]


@given(TRIPLES)
def test_keys_are_equal_exactly_when_triples_are(triples: list[tuple[int, int, int]]) -> None:
    keys = voxel_keys(torch.tensor(triples)).tolist()
    assert len(set(keys)) == len(set(triples))
    assert dict(zip(triples, keys, strict=True)) == dict(
        sorted(zip(triples, keys, strict=True), reverse=True)
    )


def test_a_coordinate_far_outside_is_an_error() -> None:
    with pytest.raises(ValueError, match="are the coordinates in metres"):
        voxel_keys(torch.tensor([[1 << 21, 0, 0]]))
