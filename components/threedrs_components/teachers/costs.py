"""What features of published teachers cost: facts about released models. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from threedrs_components.teachers.da3.config import DA3Config
from threedrs_components.teachers.settings import TeacherSettings


@dataclass(frozen=True)
class TeacherCost:
    """One published model."""

    width: int
    """Of its features."""
    parameters: int
    frame_flops: float
    """Arithmetic of one frame by itself."""
    pair_flops: float = 0.0
    """Arithmetic per pair of frames, where frames attend to each other."""


TERA = 1e12


def _da3(width: int, parameters: int, blocks: int, global_blocks: int) -> TeacherCost:
    """Of frames of 504 x 378, 973 tokens each; the head for depth and rays is left out."""
    tokens = 973
    within = 4 * (blocks - global_blocks) * width * tokens**2
    across = 4.0 * global_blocks * width * tokens**2
    return TeacherCost(2 * width, parameters, 2.0 * parameters * tokens + within, across)


DA3_SIZES = {
    384: _da3(384, 22_059_008, 12, 4),
    768: _da3(768, 86_583_296, 12, 4),
    1024: _da3(1024, 304_373_760, 24, 8),
    1536: _da3(1536, 1_136_489_216, 40, 14),
}
"""Trunks by their width."""
TEACHERS: dict[str, TeacherCost] = {
    # 32 frames of 518 x 392 take 60 (matrices) + 7 (frames) + 109 (all frames) TFLOP.
    "vggt": TeacherCost(2048, 909_112_320, 67 * TERA / 32, 109 * TERA / 32**2),
    # 768 tokens per frame: matrices of 1.2 billion weights, attention over all frames in 24 layers
    # of width 768.
    "flare": TeacherCost(768, 1_409_884_503, 2 * 1.2e9 * 768, 4 * 24 * 768 * 768.0**2),
    # 32 frames of 574 x 434 take 62 (matrices) + 9 (frames) + 123 (all frames) TFLOP.
    "pi3": TeacherCost(2048, 757_923_846, 71 * TERA / 32, 123 * TERA / 32**2),
    "da3": DA3_SIZES[1024],
    "dinov2": TeacherCost(1024, 304_368_640, 2 * 304e6 * 257),
    "dinov2_reg": TeacherCost(1024, 304_372_736, 2 * 304e6 * 261),
    "dinov3": TeacherCost(1024, 303_129_600, 2 * 303e6 * 201),
    "mae": TeacherCost(1024, 303_301_632, 2 * 303e6 * 197),
    "siglip2": TeacherCost(1152, 428_225_600, 2 * 412e6 * 256),
}
FLARE_WIDTHS = {"1": 1024, "2": 768, "3": 768, "1+3": 1792}


def teacher_cost(teacher: TeacherSettings) -> TeacherCost | None:
    """Facts about a teacher's released model; None for one that has none.

    A kind of several sizes is priced by its checkpoint's own width where that is here.
    """
    cost = TEACHERS.get(teacher.kind)
    if isinstance(teacher, DA3Config):
        size = DA3_SIZES.get(_width(teacher) or 0, DA3_SIZES[1024])
        return replace(size, width=size.width // 2) if teacher.half == "global" else size
    stage = getattr(teacher, "stage", None)
    if cost is not None and stage in FLARE_WIDTHS:
        return TeacherCost(FLARE_WIDTHS[stage], cost.parameters, cost.frame_flops, cost.pair_flops)
    return cost


@cache
def _width(teacher: DA3Config) -> int | None:
    """Of its checkpoint; None before it is here. A plan asks once per cell."""
    stored = teacher.stored_architecture()
    return None if stored is None else stored.embed_dim


def extraction_flops(cost: TeacherCost, frames: int) -> float:
    """Of one scene."""
    return cost.frame_flops * frames + cost.pair_flops * frames**2


DEPTH_CHANNELS = 2
"""Of a teacher's stored depth: it, and its weight."""


def feature_bytes(width: int, frames: int, grid: int) -> int:
    """Of one scene's features, pooled to the student's grid, in float16."""
    return frames * grid * grid * width * 2
