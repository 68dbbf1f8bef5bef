from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from threedrs_components.scenes.geometry import (
    box_cell_weights,
    cell_means,
    world_coordinates,
)

ROWS, COLUMNS = 3, 4


@pytest.fixture
def view() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Depth with holes, intrinsics, poses and an alignment, all different from the identity."""
    generator = torch.Generator().manual_seed(0)
    depth = torch.rand(2, 7, 10, generator=generator) * 4 + 0.5
    depth[0, 2, 3], depth[1, 6, 9], depth[1, 0, 0] = 0.0, -1.0, float("nan")
    intrinsics = torch.tensor([[6.0, 0.1, 4.2], [0.0, 5.5, 3.1], [0.0, 0.0, 1.0]])
    poses = torch.stack([_pose(0.3, [1.0, -2.0, 0.5]), _pose(-1.1, [0.2, 3.0, 1.5])])
    return depth, intrinsics, poses, _pose(0.7, [-0.5, 0.25, 0.1])


def _pose(angle: float, shift: list[float]) -> Tensor:
    cos, sin = math.cos(angle), math.sin(angle)
    x, y, z = shift
    return torch.tensor([[cos, -sin, 0, x], [sin, cos, 0, y], [0, 0, 1, z], [0, 0, 0, 1.0]])


def _points_by_loop(view: tuple[Tensor, Tensor, Tensor, Tensor]) -> np.ndarray:
    depth, intrinsics, poses, alignment = (value.double().numpy() for value in view)
    points = np.zeros((*depth.shape, 3))
    for frame, row, column in np.ndindex(*depth.shape):
        metres = depth[frame, row, column]
        if not metres > 0:
            continue
        ray = np.linalg.inv(intrinsics) @ [column, row, 1.0]
        points[frame, row, column] = (alignment @ poses[frame] @ [*(metres * ray), 1.0])[:3]
    return points


def test_points_agree_with_a_pixel_loop(view: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    points, _ = world_coordinates(*view)
    np.testing.assert_allclose(points.numpy(), _points_by_loop(view), atol=2e-6)
    assert points.dtype == torch.float32


def test_depth_of_zero_below_zero_or_nan_is_masked(
    view: tuple[Tensor, Tensor, Tensor, Tensor],
) -> None:
    points, valid = world_coordinates(*view)
    assert valid.sum() == valid.numel() - 3
    assert torch.equal(points[~valid], torch.zeros(3, 3))


def test_cells_average_valid_pixels_only(view: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    points, valid = world_coordinates(*view)
    means, counts = cell_means(points, valid, ROWS, COLUMNS)
    for frame, row, column in np.ndindex(2, ROWS, COLUMNS):
        rows = slice(row * 7 // ROWS, (row + 1) * 7 // ROWS)
        columns = slice(column * 10 // COLUMNS, (column + 1) * 10 // COLUMNS)
        kept = points[frame, rows, columns][valid[frame, rows, columns]]
        assert counts[frame, row, column] == len(kept)
        torch.testing.assert_close(means[frame, row, column], kept.mean(0), atol=1e-6, rtol=1e-6)


def test_a_cell_without_valid_pixels_counts_zero_and_stays_at_zero() -> None:
    points = torch.full((1, 4, 4, 3), 7.0)
    valid = torch.ones(1, 4, 4, dtype=torch.bool)
    valid[0, :2, :2] = False
    means, counts = cell_means(points, valid, 2, 2)
    assert counts.tolist() == [[[0, 4], [4, 4]]]
    assert means[0, 0, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("frames", [1, 2, 3, 7])
def test_a_frame_has_the_same_bits_in_any_company(frames: int) -> None:
    """Odd sizes, so that BLAS would take its kernels for remainders, too."""
    generator = torch.Generator().manual_seed(3)
    depth = torch.rand(9, 61, 83, generator=generator) * 4
    intrinsics = torch.tensor([[50.0, 0, 41.3], [0, 51.0, 30.2], [0, 0, 1]])
    poses = torch.stack([_pose(0.7 * frame, [1.0, -2.0, 0.3 * frame]) for frame in range(9)])
    points, valid = world_coordinates(depth, intrinsics, poses, _pose(0.2, [0.1, 0.2, 0.3]))
    some = torch.arange(frames) + 1
    fewer, kept = world_coordinates(
        depth[some], intrinsics, poses[some], _pose(0.2, [0.1, 0.2, 0.3])
    )
    assert torch.equal(fewer, points[some])
    assert torch.equal(cell_means(fewer, kept, 7, 5)[0], cell_means(points, valid, 7, 5)[0][some])


def test_means_are_exact_whatever_the_order_of_sums() -> None:
    generator = torch.Generator().manual_seed(4)
    points = (torch.rand(1, 300, 40, 3, generator=generator) - 0.5) * 60
    mean, _ = cell_means(points, torch.ones(1, 300, 40, dtype=torch.bool), 1, 1)
    shuffled = points.flatten(1, 2)[:, torch.randperm(12000, generator=generator)].view_as(points)
    again, _ = cell_means(shuffled, torch.ones(1, 300, 40, dtype=torch.bool), 1, 1)
    exact = [math.fsum(points[0, ..., axis].flatten().tolist()) / 12000 for axis in range(3)]
    assert torch.equal(mean, again)
    assert mean.flatten().tolist() == pytest.approx(exact, abs=1e-6)


@given(pixels=st.integers(1, 40), cells=st.integers(1, 16))
def test_every_pixel_falls_in_exactly_one_cell(pixels: int, cells: int) -> None:
    points, valid = torch.zeros(1, pixels, 3, 3), torch.ones(1, pixels, 3, dtype=torch.bool)
    _, counts = cell_means(points, valid, cells, 1)
    assert counts.sum() == pixels * 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_box_weights_agree_with_a_loop(
    view: tuple[Tensor, Tensor, Tensor, Tensor], dtype: torch.dtype
) -> None:
    points, valid = world_coordinates(*view)
    points = points.to(dtype)
    boxes = torch.tensor([[1.0, 0, 1, 3, 4, 2.5], [0, 2, 3, 2, 2, 2], [50, 50, 50, 1, 1, 1]])
    boxes = boxes.to(dtype)
    of_grids = box_cell_weights(points, valid, boxes, (2, 3))
    assert of_grids[0][:2].sum() > 0 and of_grids[0][2].sum() == 0
    for grid, weights in zip((2, 3), of_grids, strict=True):
        for index, frame, row, column in np.ndindex(3, 2, grid, grid):
            rows = slice(row * 7 // grid, (row + 1) * 7 // grid)
            columns = slice(column * 10 // grid, (column + 1) * 10 // grid)
            half = boxes[index, 3:] / 2
            low, high = boxes[index, :3] - half, boxes[index, :3] + half
            cell = points[frame, rows, columns]
            inside = ((cell >= low) & (cell <= high)).all(-1) & valid[frame, rows, columns]
            expected = inside.float().mean()
            torch.testing.assert_close(weights[index, frame, row, column], expected)


def test_boxes_are_closed() -> None:
    corners = torch.tensor([[[0.5, 0.5, 0.5], [0.5, 0.5, 0.5001]]]).expand(2, 2, 2, 3)
    [weights] = box_cell_weights(
        corners, torch.ones(2, 2, 2, dtype=torch.bool), torch.tensor([[0.0, 0, 0, 1, 1, 1]]), [2]
    )
    assert weights[0, 0].tolist() == [[1.0, 0.0], [1.0, 0.0]]


def test_weights_of_no_boxes_or_no_pixels_are_empty() -> None:
    points, valid = torch.zeros(2, 4, 4, 3), torch.ones(2, 4, 4, dtype=torch.bool)
    [weights] = box_cell_weights(points, valid, torch.zeros(0, 6), [2])
    assert weights.shape == (0, 2, 2, 2)
    [weights] = box_cell_weights(points, ~valid, torch.ones(1, 6), [2])
    assert weights.tolist() == torch.zeros(1, 2, 2, 2).tolist()
