"""Pixels to world points, and pooling of pixels to token cells: float32, invalid depth masked."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

UNIT_M = 2.0**-24
"""Coordinates are averaged in whole numbers of this unit, 60 nm; from half a metre on, float32
knows no finer steps."""


def ordered_product(left: Tensor, right: Tensor) -> Tensor:
    """Matrix product of [..., n, k] and [..., k, m], its k terms added in order.

    BLAS adds in an order that depends on the processor and on how many rows there are; here a row
    has the same bits in whatever company it is. For the small k of geometry only.
    """
    terms = (left[..., k, None] * right[..., None, k, :] for k in range(left.shape[-1]))
    return reduce(Tensor.add_, terms)


def world_coordinates(
    depth: Tensor, intrinsics: Tensor, camera_to_world: Tensor, axis_alignment: Tensor
) -> tuple[Tensor, Tensor]:
    """Back-project every pixel: align @ pose @ (depth * K^-1 [u, v, 1], 1).

    Pixel (u, v) is the integer index of column and row, so the principal point of a centred
    camera is (w - 1) / 2.

    Args:
        depth: [F, h, w] float32 z-depth in metres; 0, negative and non-finite are invalid.
        intrinsics: [3, 3] of the depth image.
        camera_to_world: [F, 4, 4].
        axis_alignment: [4, 4].

    Returns:
        points [F, h, w, 3] float32 (zero where invalid) and valid [F, h, w] bool.
    """
    valid = torch.isfinite(depth) & (depth > 0)
    metres = torch.where(valid, depth, 0.0).to(torch.float32)
    to_world = ordered_product(axis_alignment.double(), camera_to_world.double())
    rays = pixel_rays(depth.shape[1], depth.shape[2], intrinsics).reshape(-1, 3)
    rotation = to_world[:, :3, :3].to(torch.float32)
    origin = to_world[:, :3, 3].to(torch.float32)
    turned = ordered_product(rays, rotation.mT)
    points = turned.reshape(*depth.shape, 3) * metres[..., None] + origin[:, None, None]
    return torch.where(valid[..., None], points, 0.0), valid


def pixel_rays(height: int, width: int, intrinsics: Tensor) -> Tensor:
    """Camera rays K^-1 [u, v, 1] of every pixel, z = 1: [height, width, 3] float32."""
    inverse = torch.linalg.inv(intrinsics.double())
    v, u = torch.meshgrid(
        torch.arange(height, dtype=torch.float64),
        torch.arange(width, dtype=torch.float64),
        indexing="ij",
    )
    pixels = torch.stack([u, v, torch.ones_like(u)], dim=-1)
    return ordered_product(pixels, inverse.T).to(torch.float32)


def camera_centres(camera_to_world: Tensor, axis_alignment: Tensor) -> Tensor:
    """Where the cameras [F, 4, 4] stand in the aligned world: [F, 3] float32."""
    to_world = ordered_product(axis_alignment.double(), camera_to_world.double())
    return to_world[:, :3, 3].to(torch.float32)


def nearest_pixels(values: Tensor, height: int, width: int) -> Tensor:
    """[F, h, w, ...] at another size; each pixel takes the one in which its corner lies.

    This is the nearest neighbour of OpenCV.
    """
    if values.shape[1:3] == (height, width):
        return values
    rows = torch.arange(height) * values.shape[1] // height
    columns = torch.arange(width) * values.shape[2] // width
    return values[:, rows[:, None], columns]


def cell_membership(pixels: int, cells: int) -> Tensor:
    """[cells, pixels] float32, one where a pixel lies in a cell.

    Cell i covers floor(i * pixels / cells) up to floor((i + 1) * pixels / cells), so any number
    of pixels fits any number of cells; with fewer pixels than cells some cells stay empty.
    """
    edges = torch.arange(cells + 1) * pixels // cells
    index = torch.arange(pixels)
    return ((index >= edges[:-1, None]) & (index < edges[1:, None])).to(torch.float32)


def overlaps(side: int, grid: int, area: float = 1.0) -> Tensor:
    """[grid, side] share of each cell that each of `side` equal parts of a frame fills.

    The cells divide the first `area` of the frame.
    """
    edges = torch.linspace(0, side * area, grid + 1, dtype=torch.float64)
    parts = torch.arange(side, dtype=torch.float64)
    first = torch.maximum(edges[:-1, None], parts)
    last = torch.minimum(edges[1:, None], parts + 1)
    return ((last - first).clamp(min=0) * grid / (side * area)).to(torch.float32)


def cell_sums(values: Tensor, rows: int, columns: int) -> Tensor:
    """Sum [..., h, w] over token cells to [..., rows, columns]: float64, or float32 of others."""
    values = values if values.dtype == torch.float64 else values.to(torch.float32)
    by_row = cell_membership(values.shape[-2], rows).to(values.dtype)
    by_column = cell_membership(values.shape[-1], columns).to(values.dtype)
    return torch.matmul(by_row, torch.matmul(values, by_column.T))


def cell_means(points: Tensor, valid: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
    """Mean world point of each token cell, over its valid pixels only.

    A frame has the same bits in whatever company it is, on every processor: whole numbers in
    float64 add up without rounding, so the order of BLAS does not show.

    Args:
        points: [F, h, w, 3] float32.
        valid: [F, h, w] bool.
        rows: token rows.
        columns: token columns.

    Returns:
        coordinates [F, rows, columns, 3] float32 (zero where the cell has no valid pixel) and
        counts [F, rows, columns] int32 of valid pixels.
    """
    units = torch.where(valid[..., None], torch.round(points / UNIT_M), 0.0).movedim(-1, 1)
    sums = torch.stack([cell_sums(frame.to(torch.float64), rows, columns) for frame in units])
    counts = cell_sums(valid, rows, columns)
    means = (sums.movedim(1, -1) / counts.clamp(min=1.0)[..., None] * UNIT_M).to(torch.float32)
    return means, counts.round().to(torch.int32)


def box_cell_weights(
    points: Tensor, valid: Tensor, boxes: Tensor, grids: Sequence[int]
) -> list[Tensor]:
    """Share of each token cell's pixels that are valid and inside each closed box.

    Pixels are sorted along x once, so that a box looks only at those between its two x.

    Args:
        points: [F, h, w, 3], compared in their own number format.
        valid: [F, h, w] bool.
        boxes: [K, 6] centre and full size, in the same format.
        grids: rows and columns of each of several divisions into cells.

    Returns:
        [K, F, P, P] float32 in [0, 1] for each grid P.
    """
    located = points[valid]
    x, y, z = (located[:, axis].to(torch.float32).numpy() for axis in range(3))
    order = np.argsort(x)
    x, y, z = x[order], y[order], z[order]
    lows, highs = (each.to(torch.float32).numpy() for each in _bounds(boxes))
    first, last = np.searchsorted(x, lows[:, 0], "left"), np.searchsorted(x, highs[:, 0], "right")
    frames, height, width = valid.shape
    tokens = [_tokens_of_pixels(valid, grid)[order] for grid in grids]
    sums = [np.zeros((len(boxes), frames * grid * grid), np.float32) for grid in grids]
    for box, (start, end) in enumerate(zip(first, last, strict=True)):
        beside, above = y[start:end], z[start:end]
        inside = (beside >= lows[box, 1]) & (beside <= highs[box, 1])
        inside &= (above >= lows[box, 2]) & (above <= highs[box, 2])
        for of_pixel, held in zip(tokens, sums, strict=True):
            held[box] = np.bincount(of_pixel[start:end][inside], minlength=held.shape[1])
    areas = [cell_sums(torch.ones(height, width), grid, grid).clamp(min=1.0) for grid in grids]
    return [
        torch.from_numpy(held).view(len(boxes), frames, grid, grid) / area
        for grid, held, area in zip(grids, sums, areas, strict=True)
    ]


def cell_numbers(height: int, width: int, grid: int) -> NDArray[np.int64]:
    """[height, width] cell of each pixel within its frame, as `cell_membership` draws them."""

    def along(pixels: int) -> NDArray[np.int64]:
        edges = np.arange(1, grid + 1) * pixels // grid
        return np.searchsorted(edges, np.arange(pixels), side="right").astype(np.int64)

    return along(height)[:, None] * grid + along(width)[None, :]


def _tokens_of_pixels(valid: Tensor, grid: int) -> NDArray[np.int64]:
    """[N] token of each valid pixel, over all frames."""
    frames, height, width = valid.shape
    first = np.arange(frames)[:, None, None] * grid * grid
    numbers: NDArray[np.int64] = (first + cell_numbers(height, width, grid))[valid.numpy()]
    return numbers


def _bounds(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest and highest corners, [K, 3] each, of boxes [K, 6]."""
    centre, half = boxes[:, :3], boxes[:, 3:] / 2
    return centre - half, centre + half
