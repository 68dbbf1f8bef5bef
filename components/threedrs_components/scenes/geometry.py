"""Pixels to world points, and pooling of pixels to token cells: float32, invalid depth masked."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

PIXELS_PER_CHUNK = 1 << 24
"""Upper bound on (boxes x pixels) looked at together; bounds memory and never changes a result,
since what is added up are zeros and ones."""
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
    points: Tensor, valid: Tensor, boxes: Tensor, rows: int, columns: int
) -> Tensor:
    """Share of each token cell's pixels that are valid and inside each closed box.

    Args:
        points: [F, h, w, 3] float32.
        valid: [F, h, w] bool.
        boxes: [K, 6] centre and full size.
        rows: token rows.
        columns: token columns.

    Returns:
        [K, F, rows, columns] float32 in [0, 1].
    """
    frames, height, width = valid.shape
    area = cell_sums(torch.ones(height, width), rows, columns).clamp(min=1.0)
    chunk = max(1, PIXELS_PER_CHUNK // max(1, valid.numel()))
    shares = [
        cell_sums(inside_boxes(points, part) & valid, rows, columns) / area
        for part in torch.split(boxes, chunk)
    ]
    return torch.cat(shares) if shares else torch.zeros(0, frames, rows, columns)


def inside_boxes(points: Tensor, boxes: Tensor) -> Tensor:
    """Whether points [..., 3] lie in closed boxes [K, 6]: bool [K, ...]."""
    shape = (-1, *[1] * (points.dim() - 1))
    inside = torch.ones(boxes.shape[0], *points.shape[:-1], dtype=torch.bool)
    for axis in range(3):
        centre, half = boxes[:, axis], boxes[:, axis + 3] / 2
        values = points[..., axis]
        inside &= values >= (centre - half).view(shape)
        inside &= values <= (centre + half).view(shape)
    return inside
