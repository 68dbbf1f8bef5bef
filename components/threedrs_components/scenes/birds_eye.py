"""A room from above, without its ceiling: what its frames show, projected to the floor plane.

Ross3D (arXiv 2504.01901) tells such a picture from a student's states; theirs are rendered from
meshes, these come of the very pixels that the student sees, so that no other file is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from threedrs_components.scenes.geometry import camera_centres, ordered_product
from threedrs_components.scenes.token_geometry import surface_normals
from threedrs_platform.errors import DataError, SceneError
from threedrs_platform.records import Scene

CUT_M = 2.0
"""What is higher above the floor is left out: the ceiling, and the upper part of walls."""
TOP_LAYER_M = 0.1
"""Pixels of a cell that lie this far below its highest one give their colour to it."""
FLOOR_SHARE = 0.01
"""Of the pixels lie below the floor: sensors see some there."""
OUTER_SHARE = 0.005
"""Of the pixels lie beyond each side of the picture: what was seen through a door or window."""
UPRIGHT = 0.7
"""Cosine; cameras whose mean upward direction is nearer to z stand in a world whose z is up."""
NEAR_COSINES = (0.7, 0.97)
"""Surfaces face upwards that are this near to what is up as far as is known: 45, then 14 degrees.
Floors and tables outnumber what else lies in this cone."""

SMALLEST = 1e-6
"""Length below which a direction is none."""
COARSE = 64
"""Rows and columns of pixels per frame that are asked which way their surface faces, at most."""


def birds_eye_view(
    scene: Scene, points: Tensor, valid: Tensor, colours: Tensor, side: int
) -> Tensor:
    """The top layer of what was seen of a room, in a square that just holds it.

    Rows go down along -y of the aligned world and columns along x. Where its z is not up, as in
    scans that nobody has aligned, the surfaces tell what is, and rows go away from the first
    camera. Takes time in proportion to the pixels.

    Args:
        scene: whose frames they are.
        points: [F, s, s, 3] world points, metres.
        valid: [F, s, s] which of them are known; at least one.
        colours: [F, s, s, 3] uint8.
        side: rows and columns of the picture.

    Returns:
        [side, side, 4] uint8: mean colour, and 255 where anything was seen, else all 0.

    Raises:
        SceneError: no pixel is known.
    """
    if not bool(valid.any()):
        raise SceneError(scene.scene_id, "nothing of it is seen from above: no pixel has depth")
    axes = _axes(scene, points, valid)
    x, y, height = ordered_product(points[valid], axes.mT).unbind(-1)
    kept = height <= _quantile(height, FLOOR_SHARE) + CUT_M
    x, y, height, shown = x[kept], y[kept], height[kept], colours[valid][kept]
    bounds = [
        [_quantile(each, share) for share in (OUTER_SHARE, 1 - OUTER_SHARE)] for each in (x, y)
    ]
    width = max(float(high - low) for low, high in bounds) or 1.0
    left, top = (float(low + high) / 2 for low, high in bounds)
    columns = _cells_along((x - left) / width + 0.5, x, bounds[0], side)
    rows = _cells_along(0.5 - (y - top) / width, y, bounds[1], side)
    inside = (columns >= 0) & (columns < side) & (rows >= 0) & (rows < side)
    cells = (rows * side + columns)[inside]
    return _top_layer(cells, height[inside], shown[inside], side)


def shrunk(picture: Tensor, side: int, scene_id: str) -> Tensor:
    """A picture [B, B, 4] at another size: mean colours of what was seen in each new pixel.

    Raises:
        DataError: it is smaller than that.
    """
    if len(picture) == side:
        return picture
    if len(picture) < side:
        raise DataError(
            f"scene {scene_id}: its bird's-eye view has {len(picture)} pixels a side, and "
            f"{side} are asked for; prepare it again with prepare.birds_eye: {side}"
        )
    planes = picture.permute(2, 0, 1).double()
    seen = adaptive_avg_pool2d((planes[3:] > 0).double(), side)
    colours = adaptive_avg_pool2d(planes[:3], side) / torch.where(seen > 0, seen, 1.0)
    small = torch.cat([colours.round(), torch.where(seen > 0, 255.0, 0.0)])
    return small.to(torch.uint8).permute(1, 2, 0).contiguous()


def _cells_along(shares: Tensor, values: Tensor, bounds: Sequence[Tensor], side: int) -> Tensor:
    """Rows or columns [n] of pixels at shares of the picture's side.

    Those on a bound are within it: the walls lie there.
    """
    cells = shares.mul(side).floor().long()
    within = (values >= bounds[0]) & (values <= bounds[1])
    return torch.where(within, cells.clamp(0, side - 1), cells)


def _top_layer(cells: Tensor, height: Tensor, colours: Tensor, side: int) -> Tensor:
    """[side, side, 4] of pixels [n] with their cell, height and colour [n, 3]."""
    lowest = torch.full((side * side,), -torch.inf)
    highest = lowest.scatter_reduce(0, cells, height, "amax")
    on_top = height >= highest[cells] - TOP_LAYER_M
    cells, colours = cells[on_top], colours[on_top]
    counts = torch.bincount(cells, minlength=side * side)
    # Whole numbers add up exactly in float64, in whatever order.
    sums = torch.stack(
        [torch.bincount(cells, each.double(), side * side) for each in colours.unbind(-1)], -1
    )
    means = (sums / counts.clamp(min=1)[:, None]).round()
    seen = torch.where(counts > 0, 255.0, 0.0)[:, None]
    return torch.cat([means, seen], -1).to(torch.uint8).view(side, side, 4)


def _axes(scene: Scene, points: Tensor, valid: Tensor) -> Tensor:
    """[3, 3] float32 directions in the aligned world: right and upwards in the picture, and up."""
    aligned = torch.from_numpy(scene.axis_alignment).double()
    to_world = ordered_product(aligned, torch.from_numpy(scene.camera_to_world).double())
    up = -to_world[:, :3, 1].mean(0)
    if up.norm() < SMALLEST:  # cameras that look every way up tell nothing of it
        up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    if up[2] >= UPRIGHT * up.norm():
        return torch.eye(3)
    centres = camera_centres(
        torch.from_numpy(scene.camera_to_world), torch.from_numpy(scene.axis_alignment)
    )
    step = -(-points.shape[1] // COARSE)
    normals, known = surface_normals(points[:, ::step, ::step], valid[:, ::step, ::step], centres)
    facing = normals[known].double()
    for cosine in NEAR_COSINES:
        up = up / up.norm()
        near = facing[ordered_product(facing, up[:, None])[:, 0] >= cosine]
        up = near.mean(0) if len(near) else up
    up = up / up.norm()
    # A camera that looks straight down or up has ahead what is above its picture.
    level = [_level(to_world[0, :3, 2], up), _level(-to_world[0, :3, 1], up)]
    ahead = next((each for each in level if each.norm() >= SMALLEST), level[-1])
    ahead = ahead / ahead.norm()
    return torch.stack([torch.linalg.cross(ahead, up), ahead, up]).float()


def _level(direction: Tensor, up: Tensor) -> Tensor:
    """[3] the part of a direction that does not go up."""
    return direction - (direction * up).sum() * up


def _quantile(values: Tensor, share: float) -> Tensor:
    """The value below which a share of the others lies; takes time in proportion to them."""
    return values.kthvalue(1 + round(share * (len(values) - 1))).values
