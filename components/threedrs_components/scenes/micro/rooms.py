"""Layouts: a random room with compass walls, furniture that overlaps nothing, and free cameras."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, SeedSequence, default_rng

from threedrs_components.scenes.micro.furniture import (
    CATEGORIES,
    COLOR_NAMES,
    COLORS,
    Bounds,
    Color,
    Piece,
    build_parts,
)
from threedrs_platform.records import Boxes, Float32

STREAMS = {"train": 1, "val": 2, "teacher": 3}
"""Seed streams; scenes of different splits never share one."""

ROOM_M = (3.6, 5.4)
HEIGHT_M = (2.4, 2.8)
WALL_GAP_M = 0.05
OBJECT_GAP_M = 0.08
CAMERA_GAP_M = 0.30
CAMERA_RADIUS = (0.50, 0.88)
CAMERA_HEIGHT_M = (1.4, 2.0)
LOOK_AT_SHARE = 0.3
LOOK_AT_HEIGHT_M = (0.3, 1.1)
ROLL_SD = 0.05
PLACEMENT_TRIES = 60
BY_SIZE = [CATEGORIES.index(name) for name in ("bed", "table", "cabinet", "bin", "lamp")]

WALL_COLORS: tuple[tuple[Color, Color], ...] = (
    ((0.52, 0.66, 0.90), (0.90, 0.97, 1.00)),
    ((0.93, 0.60, 0.28), (0.72, 0.40, 0.14)),
    ((0.48, 0.72, 0.46), (0.30, 0.52, 0.30)),
    ((0.66, 0.60, 0.74), (0.44, 0.40, 0.52)),
)
"""First and second colour of north, east, south, west."""


@dataclass(frozen=True)
class Room:
    """An empty room. World frame: x east, y north, z up, origin on the floor in the middle."""

    half_x: float
    half_y: float
    height: float
    walls: Float32
    """[4, 2, 3] both colours of north, east, south, west"""
    floor: Float32
    """[2, 3]"""
    ceiling: Float32
    """[3]"""
    window_x: float
    """Where the middle of the window is on the north wall."""
    door_x: float
    """Where the middle of the door is on the south wall."""
    light: tuple[float, float, float]

    def landmark(self, name: str) -> tuple[float, float]:
        """Floor position of "door" or "window"."""
        return {"door": (self.door_x, -self.half_y), "window": (self.window_x, self.half_y)}[name]


@dataclass(frozen=True)
class Layout:
    """A furnished room."""

    room: Room
    pieces: tuple[Piece, ...]

    def objects(self) -> Boxes:
        """The pieces as labelled boxes; object id = position."""
        return Boxes(
            object_ids=tuple(range(len(self.pieces))),
            labels=tuple(piece.category for piece in self.pieces),
            boxes=np.stack([piece.box() for piece in self.pieces]),
        )


def scene_generator(seed: int, split: str, index: int, purpose: int = 0) -> Generator:
    """The random numbers of one scene, the same in every process."""
    return default_rng(SeedSequence([seed, STREAMS[split], index, purpose]))


def random_layout(rng: Generator, min_objects: int, max_objects: int) -> Layout:
    """A room with a random number of pieces; colour and category together are unique."""
    wanted = int(rng.integers(min_objects, max_objects + 1))
    while True:
        room = _random_room(rng)
        pieces = _furnished(rng, room, wanted)
        if pieces is not None:
            return Layout(room, pieces)


def random_cameras(rng: Generator, layout: Layout, num_frames: int) -> Float32:
    """Camera-to-world matrices [F, 4, 4], each drawn independently, none inside a piece."""
    bounds = [piece.bounds() for piece in layout.pieces]
    return np.stack([_random_camera(rng, layout.room, bounds) for _ in range(num_frames)])


def look_at(eye: np.ndarray, target: np.ndarray, roll: float = 0.0) -> Float32:
    """Camera-to-world of an OpenCV camera (x right, y down, z forward) in a z-up world."""
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    down = np.cross(forward, right)
    pose = np.eye(4)
    pose[:3, 0] = right * math.cos(roll) + down * math.sin(roll)
    pose[:3, 1] = down * math.cos(roll) - right * math.sin(roll)
    pose[:3, 2], pose[:3, 3] = forward, eye
    return pose.astype(np.float32)


def intrinsics(height: int, width: int, field_of_view: float) -> Float32:
    """[3, 3] of a centred camera with a horizontal field of view in degrees."""
    focal = width / 2 / math.tan(math.radians(field_of_view) / 2)
    matrix = [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]]
    return np.array(matrix, dtype=np.float32)


def _random_room(rng: Generator) -> Room:
    half_x, half_y = rng.uniform(*ROOM_M, size=2) / 2
    jitter = rng.uniform(-0.07, 0.07, size=(4, 1, 3))
    gain = rng.uniform(0.85, 1.1, size=(4, 1, 1))
    grey = rng.uniform(0.35, 0.75)
    floor = grey + rng.uniform(-0.06, 0.06, size=3)
    ceiling = rng.uniform(0.8, 0.95) + rng.uniform(-0.03, 0.03, size=3)
    height = float(rng.uniform(*HEIGHT_M))
    return Room(
        half_x=float(half_x),
        half_y=float(half_y),
        height=height,
        walls=((np.array(WALL_COLORS) + jitter) * gain).clip(0, 1).astype(np.float32),
        floor=np.stack([floor, floor * rng.uniform(0.75, 0.9)]).clip(0, 1).astype(np.float32),
        ceiling=ceiling.clip(0, 1).astype(np.float32),
        window_x=float(rng.uniform(-0.5, 0.5)),
        door_x=float(rng.uniform(-0.5, 0.5)),
        light=(float(rng.uniform(-0.5, 0.5)), float(rng.uniform(-0.5, 0.5)), height - 0.15),
    )


def _furnished(rng: Generator, room: Room, wanted: int) -> tuple[Piece, ...] | None:
    """Pieces in random order, or None if they found no place; large ones are placed first."""
    kinds = rng.permutation(len(CATEGORIES) * len(COLOR_NAMES))[:wanted]
    pieces: list[Piece] = []
    for kind in sorted(kinds.tolist(), key=lambda kind: BY_SIZE.index(kind // len(COLOR_NAMES))):
        category = CATEGORIES[kind // len(COLOR_NAMES)]
        piece = _placed(rng, room, category, COLOR_NAMES[kind % len(COLOR_NAMES)], pieces)
        if piece is None:
            return None
        pieces.append(piece)
    return tuple(pieces[index] for index in rng.permutation(wanted))


def _placed(
    rng: Generator, room: Room, category: str, color: str, others: Sequence[Piece]
) -> Piece | None:
    tint = (np.array(COLORS[color]) + rng.uniform(-0.05, 0.05, size=3)).clip(0, 1).tolist()
    parts = build_parts(category, (tint[0], tint[1], tint[2]), float(rng.uniform(0.9, 1.12)))
    taken = [other.bounds() for other in others]
    draws = rng.uniform(-1, 1, size=(PLACEMENT_TRIES, 3)).tolist()
    for x, y, turn in draws:
        place = (x * room.half_x, y * room.half_y, turn * math.pi)
        piece = Piece(category, color, *place, parts)
        if _fits(piece.bounds(), room, taken):
            return piece
    return None


def _fits(bounds: Bounds, room: Room, taken: Sequence[Bounds]) -> bool:
    low, high = bounds
    limit_x, limit_y = room.half_x - WALL_GAP_M, room.half_y - WALL_GAP_M
    if low[0] < -limit_x or low[1] < -limit_y or high[0] > limit_x or high[1] > limit_y:
        return False
    gap = OBJECT_GAP_M
    return not any(
        low[0] < their_high[0] + gap
        and high[0] > their_low[0] - gap
        and low[1] < their_high[1] + gap
        and high[1] > their_low[1] - gap
        for their_low, their_high in taken
    )


def _random_camera(rng: Generator, room: Room, bounds: Sequence[Bounds]) -> Float32:
    half = np.array([room.half_x, room.half_y])
    while True:
        angle, radius = rng.uniform(0, 2 * math.pi), rng.uniform(*CAMERA_RADIUS)
        eye = np.array([*(half * radius * [math.cos(angle), math.sin(angle)]), 0.0])
        eye[2] = rng.uniform(*CAMERA_HEIGHT_M)
        target = np.array([*(rng.uniform(-LOOK_AT_SHARE, LOOK_AT_SHARE, 2) * 2 * half), 0.0])
        target[2] = rng.uniform(*LOOK_AT_HEIGHT_M)
        roll = float(rng.normal(0, ROLL_SD))
        inside = any(
            (eye > np.array(low) - CAMERA_GAP_M).all()
            and (eye < np.array(high) + CAMERA_GAP_M).all()
            for low, high in bounds
        )
        if not inside and np.linalg.norm(target[:2] - eye[:2]) > 0.2:
            return look_at(eye, target, roll)
