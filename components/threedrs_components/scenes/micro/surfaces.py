"""What surfaces look like: textures of furniture and of the room, and light."""

from __future__ import annotations

import torch
from torch import Tensor

from threedrs_components.scenes.micro.furniture import Texture
from threedrs_components.scenes.micro.rooms import Room

NORTH, EAST, SOUTH, WEST, FLOOR, CEILING = range(6)
WALL_NORMALS = (
    (0.0, -1.0, 0.0),
    (-1.0, 0.0, 0.0),
    (0.0, 1.0, 0.0),
    (1.0, 0.0, 0.0),
    (0.0, 0.0, 1.0),
    (0.0, 0.0, -1.0),
)
CELL_M = 0.5
"""Period of wall textures and floor tiles."""
CHECKER_M = 0.24
DRAWERS = 4
"""Dark bands over a cabinet's height."""
DRAWER_GAP = 0.26
"""Dark share of each drawer's height."""
STAVES = 8
"""Light and dark pairs around a barrel; a power of two."""
WINDOW = (1.3, 0.9, 2.0)
"""Width, lower and upper edge, metres."""
DOOR = (1.0, 2.05)
"""Width and height, metres."""
DOOR_COLOR = (0.40, 0.22, 0.10)
KNOB_COLOR = (0.95, 0.85, 0.40)
FRAME_COLOR = (0.69, 0.69, 0.69)
AMBIENT = 0.55
DIFFUSE = 0.65


def furniture_colors(
    point: Tensor, half: Tensor, texture: Tensor, first: Tensor, second: Tensor
) -> Tensor:
    """Colour of points [n, 3], given in their primitive's frame with half sizes [n, 3]: [n, 3]."""
    cell = torch.floor(point / CHECKER_M + 100.5).to(torch.int64).sum(-1)
    level = (point[:, 2] / half[:, 2] + 1.0) / 2.0 * DRAWERS * 0.999
    band = level.frac() < DRAWER_GAP
    is_second = torch.where(texture == Texture.CHECKER, cell % 2 == 1, False)
    is_second |= (texture == Texture.BANDS) & band
    is_second |= (texture == Texture.STAVES) & _on_dark_stave(point[:, 0], point[:, 1])
    mixed = torch.where(is_second[:, None], second, first)
    glow = 0.85 + 0.15 * point[:, 2:] / half[:, 2:]
    return torch.where((texture == Texture.GLOW)[:, None], mixed * glow, mixed)


def room_colors(point: Tensor, side: Tensor, room: Room) -> Tensor:
    """Colour of points [n, 3] on sides [n] of the room: [n, 3]."""
    walls = torch.from_numpy(room.walls)
    floor = torch.from_numpy(room.floor)
    x, y, z = point.unbind(-1)
    stripes_east = (y / CELL_M + 100.0).frac() > 0.5
    stripes_south = (z / CELL_M + 100.0).frac() > 0.5
    tiles = (_cell(x) + _cell(y)) % 2 == 1
    blend = torch.zeros_like(x)
    blend = torch.where((side == EAST) & stripes_east, 1.0, blend)
    blend = torch.where((side == SOUTH) & stripes_south, 1.0, blend)
    blend = torch.where(side == WEST, _patches(_cell(y), _cell(z)), blend)
    blend = torch.where((side == FLOOR) & tiles, 1.0, blend)
    ceiling = torch.from_numpy(room.ceiling).expand(1, 2, 3)
    table = torch.cat([walls, floor[None], ceiling])[side]
    colors = table[:, 0] * (1 - blend[:, None]) + table[:, 1] * blend[:, None]
    colors = _with_window(colors, x - room.window_x, z, side == NORTH, walls[NORTH, 1])
    return _with_door(colors, x - room.door_x, z, side == SOUTH)


def lit(colors: Tensor, point: Tensor, normal: Tensor, room: Room) -> Tensor:
    """Lambert's law for one ceiling light plus ambient light: [n, 3] in [0, 1]."""
    to_light = torch.tensor(room.light) - point
    distance = to_light.norm(dim=-1).clamp(min=0.2)
    cosine = ((to_light * normal).sum(-1) / distance).clamp(min=0.0)
    fade = 1.0 / (1.0 + 0.04 * distance * distance)
    brightness = AMBIENT + DIFFUSE * cosine * fade
    return torch.clamp(colors * brightness[:, None], 0.0, 1.0)


def _with_window(colors: Tensor, s: Tensor, z: Tensor, on_wall: Tensor, sky: Tensor) -> Tensor:
    width, low, high = WINDOW
    inside = on_wall & (s.abs() < width / 2) & (z > low) & (z < high)
    middle = (low + high) / 2
    bar = (s.abs() < 0.05) | ((z - middle).abs() < 0.05)
    edge = (s.abs() > width / 2 - 0.08) | ((z - middle).abs() > (high - low) / 2 - 0.08)
    colors = torch.where(inside[:, None], sky * 1.5, colors)
    frame = (inside & (bar | edge))[:, None]
    return torch.where(frame, torch.tensor(FRAME_COLOR), colors)


def _with_door(colors: Tensor, s: Tensor, z: Tensor, on_wall: Tensor) -> Tensor:
    width, height = DOOR
    inside = on_wall & (s.abs() < width / 2) & (z < height)
    knob = inside & ((s - 0.36).square() + (z - 1.0).square() < 0.06**2)
    colors = torch.where(inside[:, None], torch.tensor(DOOR_COLOR), colors)
    return torch.where(knob[:, None], torch.tensor(KNOB_COLOR), colors)


def _cell(values: Tensor) -> Tensor:
    return torch.floor(values / CELL_M).to(torch.int64)


def _on_dark_stave(x: Tensor, y: Tensor) -> Tensor:
    """Whether sin(STAVES * angle) < 0, the angle being that of (x, y): half of every stave.

    Squaring x + iy doubles its angle. Unlike `atan2`, this rounds in one way on every processor
    and at every place in a tensor.
    """
    for _ in range(STAVES.bit_length() - 1):
        x, y = x * x - y * y, 2 * x * y
    return y < 0


def _patches(row: Tensor, column: Tensor) -> Tensor:
    """A fixed pseudo-random number in [0, 1] per cell, from integer arithmetic only."""
    mixed = (row * 73856093) ^ (column * 19349663)
    mixed = (mixed ^ (mixed >> 13)) * 1274126177
    low_byte = torch.bitwise_and(mixed ^ (mixed >> 16), 0xFF)
    return low_byte.to(torch.float32) / 255.0
