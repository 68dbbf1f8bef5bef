"""Exact ray casting of a furnished room: colour, z-depth, hit points and instances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from threedrs_components.scenes.geometry import ordered_product, pixel_rays
from threedrs_components.scenes.micro.furniture import Shape, Texture
from threedrs_components.scenes.micro.primitives import (
    FAR,
    box_hit,
    box_normal,
    cylinder_hit,
    cylinder_normal,
    sphere_hit,
    sphere_normal,
)
from threedrs_components.scenes.micro.rooms import Layout, Room
from threedrs_components.scenes.micro.surfaces import (
    WALL_NORMALS,
    furniture_colors,
    lit,
    room_colors,
)
from threedrs_platform.records import Float32, UInt8

RAYS_PER_CHUNK = 1 << 17
"""Rays cast together; bounds memory and never changes a result: rays share no sum, and every
operation on them rounds in one way wherever in a tensor they stand."""
HITS = {Shape.BOX: box_hit, Shape.CYLINDER: cylinder_hit, Shape.SPHERE: sphere_hit}
NORMALS = {Shape.BOX: box_normal, Shape.CYLINDER: cylinder_normal, Shape.SPHERE: sphere_normal}


@dataclass(frozen=True)
class Rendering:
    """Frames of a room. All surfaces are opaque and the room is closed: every pixel is valid."""

    images: UInt8
    """[F, H, W, 3]"""
    depth: Float32
    """[F, H, W] z-depth, metres"""
    points: Float32
    """[F, H, W, 3] where each ray hits, world frame"""
    instances: UInt8
    """[F, H, W] 0 = room, else object id + 1"""


@dataclass(frozen=True)
class Primitives:
    """All parts of all pieces, one row each: the scene as the ray caster sees it."""

    center: Tensor
    half: Tensor
    turn: Tensor
    """[N, 2] cosine and sine of yaw"""
    shape: Tensor
    texture: Tensor
    first: Tensor
    second: Tensor
    owner: Tensor
    """Object id"""

    @property
    def radius(self) -> Tensor:
        """Radius of each bounding sphere, a little generous."""
        sphere = self.shape == Shape.SPHERE
        return torch.where(sphere, self.half[:, 0], self.half.norm(dim=-1)) * 1.0001


def collect_primitives(layout: Layout) -> Primitives:
    """Place every part of every piece in the world."""
    parts = [
        (part, piece.yaw, piece.x, piece.y, owner)
        for owner, piece in enumerate(layout.pieces)
        for part in piece.parts
    ]
    yaw = torch.tensor([yaw for _, yaw, _, _, _ in parts], dtype=torch.float64)
    turn = torch.stack([yaw.cos(), yaw.sin()], dim=-1).float()
    local = torch.tensor([part.center for part, *_ in parts]).reshape(-1, 3)
    shift = torch.tensor([(x, y, 0.0) for _, _, x, y, _ in parts]).reshape(-1, 3)
    return Primitives(
        center=to_world(local, turn) + shift,
        half=torch.tensor([part.half for part, *_ in parts]).reshape(-1, 3),
        turn=turn,
        shape=torch.tensor([int(part.shape) for part, *_ in parts], dtype=torch.int64),
        texture=torch.tensor([int(part.texture) for part, *_ in parts], dtype=torch.int64),
        first=torch.tensor([part.color for part, *_ in parts]).reshape(-1, 3),
        second=torch.tensor([part.second for part, *_ in parts]).reshape(-1, 3),
        owner=torch.tensor([owner for *_, owner in parts], dtype=torch.int64),
    )


def render(
    layout: Layout, camera_to_world: Float32, intrinsics: Float32, height: int, width: int
) -> Rendering:
    """Look at a room through cameras [F, 4, 4]; pixel (u, v) is the centre of its square."""
    primitives = collect_primitives(layout)
    rays = pixel_rays(height, width, torch.from_numpy(intrinsics)).reshape(-1, 3)
    poses = torch.from_numpy(camera_to_world)
    step = max(1, RAYS_PER_CHUNK // (height * width))
    chunks = [cast_rays(layout.room, primitives, rays, part) for part in torch.split(poses, step)]
    shape = (len(poses), height, width)
    colors, depth, points, owners = (torch.cat(parts) for parts in zip(*chunks, strict=True))
    return Rendering(
        images=(colors * 255.0 + 0.5).to(torch.uint8).reshape(*shape, 3).numpy(),
        depth=depth.reshape(shape).numpy(),
        points=points.reshape(*shape, 3).numpy(),
        instances=(owners + 1).to(torch.uint8).reshape(shape).numpy(),
    )


def cast_rays(
    room: Room, primitives: Primitives, rays: Tensor, poses: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cast camera rays [R, 3] (z = 1) from every pose [F, 4, 4].

    Returns:
        colours [F * R, 3] in [0, 1], z-depths [F * R], hit points [F * R, 3] in the world frame
        and owners [F * R]: object id, or -1 for the room.
    """
    directions = ordered_product(rays, poses[:, :3, :3].mT)
    directions = torch.where(directions.abs() < 1e-9, 1e-9, directions)
    eyes = poses[:, :3, 3]
    ray, part, distance = _object_hits(primitives, directions, eyes)
    directions = directions.reshape(-1, 3)
    origins = eyes.repeat_interleave(len(rays), 0)
    depth, side = _room_exit(room, origins, directions)
    nearest, part_of_ray = _nearest(ray, part, distance, len(directions))
    on_object = nearest < depth
    depth = torch.where(on_object, nearest, depth)
    points = origins + depth[:, None] * directions
    background, seen = (~on_object).nonzero()[:, 0], on_object.nonzero()[:, 0]
    part_seen = part_of_ray[seen]
    colors = torch.empty_like(points)
    colors[background] = _room_shading(room, points[background], side[background])
    colors[seen] = _object_shading(room, primitives, points[seen], part_seen)
    owners = torch.full_like(part_of_ray, -1)
    owners[seen] = primitives.owner[part_seen]
    return colors, depth, points, owners


def _object_hits(
    primitives: Primitives, directions: Tensor, eyes: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Ray, primitive and entry distance (or infinity) of all pairs that may meet."""
    offset = primitives.center[None] - eyes[:, None]
    crosses = _crosses_bounds(primitives.radius, directions, offset)
    flat = directions.reshape(-1, 3)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for kind, hit in HITS.items():
        members = (primitives.shape == kind).nonzero()[:, 0]
        pairs = crosses.index_select(2, members).reshape(len(flat), -1).nonzero()
        ray, part = pairs[:, 0], members.index_select(0, pairs[:, 1])
        frame = ray // directions.shape[1]
        turn = primitives.turn.index_select(0, part)
        origin = to_local(-offset.flatten(0, 1)[frame * len(primitives.shape) + part], turn)
        direction = to_local(flat.index_select(0, ray), turn)
        found.append((ray, part, hit(origin, direction, primitives.half.index_select(0, part))))
    rays, parts, distances = (torch.cat(column) for column in zip(*found, strict=True))
    return rays, parts, distances


def _crosses_bounds(radius: Tensor, directions: Tensor, offset: Tensor) -> Tensor:
    """Whether rays [F, R, 3] cross bounding spheres at offsets [F, N, 3] ahead: [F, R, N]."""
    along = ordered_product(directions, offset.mT)
    length = (directions * directions).sum(-1, keepdim=True)
    beyond = (offset * offset).sum(-1)[:, None] - radius * radius
    around_camera = beyond < 0
    return (along * along >= beyond * length) & ((along > 0) | around_camera)


def _nearest(ray: Tensor, part: Tensor, distance: Tensor, rays: int) -> tuple[Tensor, Tensor]:
    """Nearest hit of every ray and the primitive it belongs to (lowest index on a tie)."""
    nearest = torch.full((rays,), FAR).scatter_reduce(0, ray, distance, "amin")
    wins = ((distance == nearest[ray]) & (distance < FAR)).nonzero()[:, 0]
    nobody = torch.full((rays,), torch.iinfo(torch.int64).max)
    return nearest, nobody.scatter_reduce(0, ray[wins], part[wins], "amin")


def _room_exit(room: Room, origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Distance to the wall, floor or ceiling ahead, and which one it is."""
    high = torch.tensor([room.half_x, room.half_y, room.height])
    low = torch.tensor([-room.half_x, -room.half_y, 0.0])
    ahead = directions > 0
    distance = (torch.where(ahead, high, low) - origins) / directions
    depth, axis = distance.min(-1)
    positive = ahead.gather(-1, axis[:, None])[:, 0]
    sides = torch.tensor([[3, 1], [2, 0], [4, 5]])
    return depth, sides[axis, positive.to(torch.int64)]


def _room_shading(room: Room, points: Tensor, side: Tensor) -> Tensor:
    normals = torch.tensor(WALL_NORMALS)[side]
    return lit(room_colors(points, side, room), points, normals, room)


def _object_shading(room: Room, primitives: Primitives, points: Tensor, part: Tensor) -> Tensor:
    turn, half = primitives.turn[part], primitives.half[part]
    texture, shape = primitives.texture[part], primitives.shape[part]
    local = to_local(points - primitives.center[part], turn)
    first, second = primitives.first[part], primitives.second[part]
    colors = furniture_colors(local, half, texture, first, second)
    normals = torch.empty_like(local)
    for kind, normal in NORMALS.items():
        chosen = (shape == kind).nonzero()[:, 0]
        normals[chosen] = normal(local[chosen], half[chosen])
    shaded = lit(colors, points, to_world(normals, turn), room)
    return torch.where((texture == Texture.GLOW)[:, None], colors, shaded)


def to_world(vectors: Tensor, turn: Tensor) -> Tensor:
    """Turn vectors [n, 3] by yaws given as cosine and sine [n, 2]."""
    x, y, z = vectors.unbind(-1)
    cos, sin = turn.unbind(-1)
    return torch.stack([x * cos - y * sin, x * sin + y * cos, z], dim=-1)


def to_local(vectors: Tensor, turn: Tensor) -> Tensor:
    """Undo `to_world`."""
    x, y, z = vectors.unbind(-1)
    cos, sin = turn.unbind(-1)
    return torch.stack([x * cos + y * sin, y * cos - x * sin, z], dim=-1)


def largest_share(instances: UInt8, num_objects: int) -> Float32:
    """Per object, the largest share of a frame's pixels that it fills, of [F, H, W]: [K]."""
    frames = instances.reshape(len(instances), -1)
    counts = [np.bincount(frame, minlength=num_objects + 1)[1:] for frame in frames]
    return np.asarray(np.max(counts, axis=0) / frames.shape[1], dtype=np.float32)
