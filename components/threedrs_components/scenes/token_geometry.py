"""What cameras and depth tell of each token cell: how far, which way it faces, along which ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from threedrs_components.scenes.geometry import (
    camera_centres,
    cell_means,
    ordered_product,
    pixel_rays,
)
from threedrs_platform.records import Scene

STEEPEST = 0.2
"""Neighbouring pixels that lie further apart than this share of their distance from the camera
belong to two surfaces. A floor seen at 5 degrees, one pixel of 64 being 1 degree, is at .2."""
SHORTEST = 1e-6
"""A cell whose normals cancel out to less has none."""


@dataclass(frozen=True)
class TokenGeometry:
    """Geometry of one scene at its token grid. F frames, P token rows and columns."""

    depths: Tensor
    """[F, P, P] float32 metres along the optical axis: mean of the cell's valid pixels, 0 = none"""
    normals: Tensor
    """[F, P, P, 3] float32 unit vectors in the camera's axes, towards the camera; 0 where none"""
    rays: Tensor
    """[P, P, 3] float32: mean of K^-1 [u, v, 1] over the cell's pixels, the same in every frame"""
    cameras: Tensor
    """[F, 4, 4] float32 camera (x right, y down, z forward) to the aligned world, metres"""

    def tensors(self) -> dict[str, Tensor]:
        """By the names under which they are stored beside the scene."""
        return {f"{PREFIX}{each.name}": getattr(self, each.name) for each in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> TokenGeometry:
        """Inverse of `tensors`; other names are ignored."""
        return cls(**{each.name: tensors[f"{PREFIX}{each.name}"] for each in fields(cls)})

    def ray_maps(self, reference: int = 0) -> Tensor:
        """[F, P, P, 6] direction and camera centre of every cell's ray, in the axes of one camera.

        Directions are not of unit length: a point is its centre plus its depth times its direction,
        as in Depth Anything 3.

        Args:
            reference: the frame whose camera is the world.
        """
        to_reference = torch.linalg.inv(self.cameras[reference].double())
        relative = ordered_product(to_reference, self.cameras.double()).float()
        rotations, centres = relative[:, :3, :3], relative[:, :3, 3]
        directions = ordered_product(self.rays.reshape(-1, 3), rotations.mT)
        directions = directions.reshape(len(relative), *self.rays.shape)
        return torch.cat([directions, centres[:, None, None].expand_as(directions)], dim=-1)


PREFIX = "geometry_"
STORED = tuple(f"{PREFIX}{each.name}" for each in fields(TokenGeometry))


def token_geometry(
    scene: Scene, points: Tensor, valid: Tensor, framed: Callable[[Tensor], Tensor], grid: int
) -> TokenGeometry:
    """Geometry of a scene's cells.

    Args:
        scene: with depth and cameras.
        points: [F, s, s, 3] world points of what the student sees of each frame.
        valid: [F, s, s] which of them are known.
        framed: takes maps [F, h, w, ...] of depth pixels to that part of them, [F, s, s, ...].
        grid: token rows and columns per frame.
    """
    cameras = ordered_product(
        torch.from_numpy(scene.axis_alignment).double(),
        torch.from_numpy(scene.camera_to_world).double(),
    )
    turned = cameras[:, :3, :3].float()
    centres = camera_centres(
        torch.from_numpy(scene.camera_to_world), torch.from_numpy(scene.axis_alignment)
    )
    depth = framed(torch.from_numpy(scene.depth))
    depths, counts = cell_means(_thrice(torch.where(valid, depth, 0.0)), valid, grid, grid)
    normals, known = surface_normals(points, valid, centres)
    normals = ordered_product(normals.flatten(1, 2), turned).reshape(normals.shape)
    normals, _ = cell_means(normals, known, grid, grid)
    lengths = torch.linalg.vector_norm(normals, dim=-1, keepdim=True)
    height, width = scene.depth.shape[1:]
    rays = framed(pixel_rays(height, width, torch.from_numpy(scene.depth_intrinsics))[None])
    rays, _ = cell_means(rays, torch.ones(rays.shape[:3], dtype=torch.bool), grid, grid)
    return TokenGeometry(
        depths=torch.where(counts > 0, depths[..., 0], 0.0),
        normals=torch.where(lengths > SHORTEST, normals / lengths, 0.0),
        rays=rays[0],
        cameras=cameras.float(),
    )


def surface_normals(points: Tensor, valid: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """Unit normals of the surface between each pixel and its right and lower neighbour.

    Args:
        points: [F, h, w, 3] float32 metres.
        valid: [F, h, w].
        centres: [F, 3] of the cameras.

    Returns:
        [F, h, w, 3] in the axes of the points, towards the camera, and [F, h, w] bool: where all
        three are valid and of one surface. The last row and column have none.
    """
    here, known = points[:, :-1, :-1], valid[:, :-1, :-1] & valid[:, 1:, :-1] & valid[:, :-1, 1:]
    down, right = points[:, 1:, :-1] - here, points[:, :-1, 1:] - here
    away = here - centres[:, None, None]
    across = torch.linalg.cross(down, right)
    lengths = torch.linalg.vector_norm(across, dim=-1)
    furthest = torch.maximum(*(torch.linalg.vector_norm(each, dim=-1) for each in (down, right)))
    known = known & (lengths > 0) & (furthest < STEEPEST * torch.linalg.vector_norm(away, dim=-1))
    towards = -torch.sign((across * away).sum(-1, keepdim=True))
    units = across * towards / lengths.clamp(min=torch.finfo(torch.float32).tiny)[..., None]
    normals, found = torch.zeros_like(points), torch.zeros_like(valid)
    normals[:, :-1, :-1] = torch.where(known[..., None], units, 0.0)
    found[:, :-1, :-1] = known
    return normals, found


def _thrice(values: Tensor) -> Tensor:
    """[F, h, w, 3] of [F, h, w]: cells average triples."""
    return values[..., None].expand(*values.shape, 3)
