"""The five kinds of furniture: boxes, cylinders and spheres with textures of their own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from threedrs_platform.records import Float32

Color = tuple[float, float, float]
Point = tuple[float, float, float]
Bounds = tuple[Point, Point]
"""Lowest and highest corner of an axis-aligned box."""

CATEGORIES = ("bed", "bin", "cabinet", "lamp", "table")
COLORS: dict[str, Color] = {
    "red": (0.86, 0.10, 0.10),
    "green": (0.08, 0.62, 0.16),
    "blue": (0.12, 0.22, 0.88),
    "yellow": (0.96, 0.86, 0.08),
    "purple": (0.62, 0.12, 0.74),
    "white": (0.97, 0.97, 0.97),
}
COLOR_NAMES = tuple(COLORS)
DARK: Color = (0.10, 0.09, 0.09)
BOX_MARGIN_M = 0.01
GREY: Color = (0.45, 0.45, 0.45)
LINEN: Color = (0.98, 0.96, 0.90)


class Shape(IntEnum):
    """Geometry of a primitive."""

    BOX = 0
    CYLINDER = 1
    """Upright; half sizes are radius, radius, half height."""
    SPHERE = 2


class Texture(IntEnum):
    """How a primitive's two colours are laid out, in its own coordinates."""

    PLAIN = 0
    CHECKER = 1
    BANDS = 2
    """Horizontal."""
    STAVES = 3
    """Vertical, by angle around the axis."""
    GLOW = 4
    """Lit from within: ignores the room's light."""


@dataclass(frozen=True)
class Part:
    """One primitive of a piece of furniture, in the piece's frame: z = 0 on the floor."""

    shape: Shape
    center: Point
    half: Point
    color: Color
    second: Color
    texture: Texture = Texture.PLAIN


@dataclass(frozen=True)
class Piece:
    """A piece of furniture standing in a room (world frame: room centre, compass axes)."""

    category: str
    color: str
    x: float
    y: float
    yaw: float
    parts: tuple[Part, ...]

    def box(self) -> Float32:
        """Axis-aligned box of all parts: [6] centre and full size.

        A centimetre generous, so that rounding moves no surface out of it, but a centimetre
        above the floor, so that the floor is not in it.
        """
        margin = np.array([BOX_MARGIN_M, BOX_MARGIN_M, -BOX_MARGIN_M])
        low, high = (np.array(corner) for corner in self.bounds())
        low, high = low - margin, high + BOX_MARGIN_M
        return np.concatenate([(low + high) / 2, high - low]).astype(np.float32)

    def bounds(self) -> Bounds:
        """Lowest and highest corner of all parts."""
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        corners = [_part_bounds(part, cos, sin) for part in self.parts]
        lows, highs = zip(*corners, strict=True)
        low_x, low_y, low_z = (min(values) for values in zip(*lows, strict=True))
        high_x, high_y, high_z = (max(values) for values in zip(*highs, strict=True))
        return (
            (low_x + self.x, low_y + self.y, low_z),
            (high_x + self.x, high_y + self.y, high_z),
        )


def build_parts(category: str, color: Color, scale: float) -> tuple[Part, ...]:
    """The parts of a category in one colour, all sizes times `scale`."""
    return tuple(
        Part(
            part.shape,
            _scaled(part.center, scale),
            _scaled(part.half, scale),
            part.color,
            part.second,
            part.texture,
        )
        for part in _BUILDERS[category](color)
    )


def _bed(color: Color) -> list[Part]:
    shade = _darker(color, 0.45)
    return [
        Part(Shape.BOX, (0.0, 0.0, 0.24), (0.78, 0.52, 0.24), color, color),
        Part(Shape.BOX, (0.52, 0.0, 0.55), (0.20, 0.44, 0.07), LINEN, LINEN),
        Part(Shape.BOX, (0.78, 0.0, 0.48), (0.07, 0.54, 0.48), shade, shade),
    ]


def _bin(color: Color) -> list[Part]:
    return [
        Part(Shape.CYLINDER, (0.0, 0.0, 0.42), (0.36, 0.36, 0.42), color, DARK, Texture.STAVES),
    ]


def _cabinet(color: Color) -> list[Part]:
    return [
        Part(Shape.BOX, (0.0, 0.0, 0.80), (0.45, 0.28, 0.80), color, DARK, Texture.BANDS),
    ]


def _lamp(color: Color) -> list[Part]:
    return [
        Part(Shape.CYLINDER, (0.0, 0.0, 0.03), (0.24, 0.24, 0.03), DARK, DARK),
        Part(Shape.CYLINDER, (0.0, 0.0, 0.55), (0.045, 0.045, 0.50), DARK, DARK),
        Part(Shape.SPHERE, (0.0, 0.0, 1.28), (0.34, 0.34, 0.34), color, color, Texture.GLOW),
    ]


def _table(color: Color) -> list[Part]:
    pale = _blend(color, (1.0, 1.0, 1.0), 0.75) if min(color) < 0.8 else GREY
    legs = [
        Part(Shape.BOX, (0.52 * sx, 0.32 * sy, 0.33), (0.06, 0.06, 0.33), color, color)
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]
    top = Part(Shape.BOX, (0.0, 0.0, 0.72), (0.62, 0.42, 0.07), color, pale, Texture.CHECKER)
    return [*legs, top]


_BUILDERS = {"bed": _bed, "bin": _bin, "cabinet": _cabinet, "lamp": _lamp, "table": _table}


def _part_bounds(part: Part, cos: float, sin: float) -> Bounds:
    px, py, z = part.center
    x, y = px * cos - py * sin, px * sin + py * cos
    hx, hy, hz = part.half
    if part.shape is Shape.BOX:
        hx, hy = hx * abs(cos) + hy * abs(sin), hx * abs(sin) + hy * abs(cos)
    return (x - hx, y - hy, z - hz), (x + hx, y + hy, z + hz)


def _scaled(values: Point, scale: float) -> Point:
    return values[0] * scale, values[1] * scale, values[2] * scale


def _darker(color: Color, factor: float) -> Color:
    return color[0] * factor, color[1] * factor, color[2] * factor


def _blend(color: Color, other: Color, share: float) -> Color:
    red, green, blue = (a * (1 - share) + b * share for a, b in zip(color, other, strict=True))
    return red, green, blue
