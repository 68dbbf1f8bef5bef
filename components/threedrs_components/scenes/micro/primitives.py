"""Exact intersections of rays with boxes, upright cylinders and spheres.

Rays are origin + t * direction, with directions of camera z = 1, so t is the z-depth. All
functions work on lists of (ray, primitive) pairs in the primitive's own frame (centre at the
origin, yaw undone), and return infinity for a miss.
"""

from __future__ import annotations

import torch
from torch import Tensor

NEAR = 1e-3
"""Hits closer than this are behind or at the camera."""
FAR = float("inf")


def box_hit(origin: Tensor, direction: Tensor, half: Tensor) -> Tensor:
    """Entry distance into boxes of half sizes [n, 3]: [n]."""
    inverse = 1.0 / direction
    middle, reach = -origin * inverse, half * inverse.abs()
    enter, leave = (middle - reach).amax(-1), (middle + reach).amin(-1)
    return torch.where((enter <= leave) & (enter > NEAR), enter, FAR)


def sphere_hit(origin: Tensor, direction: Tensor, half: Tensor) -> Tensor:
    """Entry distance into spheres of radius half[:, 0]: [n]."""
    enter, _ = _round_span(origin, direction, half[:, 0])
    return torch.where(enter > NEAR, enter, FAR)


def cylinder_hit(origin: Tensor, direction: Tensor, half: Tensor) -> Tensor:
    """Entry distance into capped upright cylinders (radius, radius, half height): [n]."""
    enter, leave = _round_span(origin[:, :2], direction[:, :2], half[:, 0])
    middle, reach = -origin[:, 2] / direction[:, 2], half[:, 2] / direction[:, 2].abs()
    enter = torch.maximum(enter, middle - reach)
    leave = torch.minimum(leave, middle + reach)
    return torch.where((enter <= leave) & (enter > NEAR), enter, FAR)


def box_normal(point: Tensor, half: Tensor) -> Tensor:
    """Outward normal of the face that a surface point lies on: [n, 3]."""
    axis = (point.abs() / half).argmax(-1, keepdim=True)
    normal = torch.zeros_like(point)
    return normal.scatter_(-1, axis, point.gather(-1, axis).sign())


def cylinder_normal(point: Tensor, half: Tensor) -> Tensor:
    """Outward normal on the side or a cap: [n, 3]."""
    side = torch.nn.functional.pad(point[:, :2] / half[:, :2], (0, 1))
    cap = torch.nn.functional.pad(point[:, 2:].sign(), (2, 0))
    on_cap = point[:, 2].abs() / half[:, 2] > point[:, :2].norm(dim=-1) / half[:, 0]
    return torch.where(on_cap[:, None], cap, side)


def sphere_normal(point: Tensor, half: Tensor) -> Tensor:
    """Outward normal: [n, 3]."""
    return point / half


def _round_span(origin: Tensor, direction: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """From where to where a ray is within a radius of the origin (2D or 3D); a miss is empty.

    The discriminant is formed from the closest approach, which keeps its float32 digits.
    """
    a = (direction * direction).sum(-1)
    closest = -(origin * direction).sum(-1) / a
    gap = origin + closest[:, None] * direction
    room = radius * radius - (gap * gap).sum(-1)
    reach = torch.sqrt(room.clamp(min=0.0) / a)
    missed = room < 0
    return torch.where(missed, FAR, closest - reach), torch.where(missed, -FAR, closest + reach)
