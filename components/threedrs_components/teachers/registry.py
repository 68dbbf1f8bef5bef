"""Pretrained models that turn frames into dense features; `TeacherConfig` is their registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args, overload

from pydantic import ValidationError

from threedrs_components.teachers.config import (
    AnyTeacher,
    DINOv2Config,
    DINOv2RegistersConfig,
    FLAREConfig,
    MAEArchitecture,
    MAEConfig,
    PrecomputedConfig,
    PretrainTeacherConfig,
    SigLIP2Config,
    TeacherConfig,
    VGGTArchitecture,
    VGGTConfig,
)
from threedrs_components.teachers.settings import Framing
from threedrs_platform.config.suggestions import nearest_and_all
from threedrs_platform.errors import ConfigError, Fault

if TYPE_CHECKING:
    from threedrs_components.teachers.frame_teacher import FrameTeacher
    from threedrs_components.teachers.precomputed.teacher import PrecomputedTeacher
    from threedrs_components.teachers.vggt.teacher import VGGTTeacher

TEACHERS: dict[str, type[AnyTeacher]] = {
    str(member.model_fields["kind"].default): member for member in get_args(AnyTeacher)
}
"""Configuration classes by kind."""
TEACHER_KINDS = tuple(TEACHERS)
"""Every kind that `load_teacher` knows."""

__all__ = [
    "TEACHERS",
    "TEACHER_KINDS",
    "AnyTeacher",
    "DINOv2Config",
    "DINOv2RegistersConfig",
    "FLAREConfig",
    "Framing",
    "MAEArchitecture",
    "MAEConfig",
    "PrecomputedConfig",
    "PretrainTeacherConfig",
    "SigLIP2Config",
    "TeacherConfig",
    "VGGTArchitecture",
    "VGGTConfig",
    "load_teacher",
]


@overload
def load_teacher(
    kind: Literal["vggt"], checkpoint: str, *, device: str = ..., **config: Any
) -> VGGTTeacher: ...
@overload
def load_teacher(
    kind: Literal["precomputed"], checkpoint: str, *, device: str = ..., **config: Any
) -> PrecomputedTeacher: ...
@overload
def load_teacher(
    kind: Literal["flare", "dinov2", "dinov2_reg", "mae", "siglip2"],
    checkpoint: str,
    *,
    device: str = ...,
    **config: Any,
) -> FrameTeacher: ...
@overload
def load_teacher(
    kind: str, checkpoint: str, *, device: str = ..., **config: Any
) -> FrameTeacher | PrecomputedTeacher: ...
def load_teacher(
    kind: str, checkpoint: str, *, device: str = "cpu", **config: Any
) -> FrameTeacher | PrecomputedTeacher:
    """Load a teacher by its kind; further keywords are fields of its config.

    Every teacher has `scene_features(scene)`; all but "precomputed" have
    `features(frames)`: [F, 3, H, W] in [0, 1] -> [F, rows, columns, channels]. "vggt" has
    `tokens`, `cameras`, `depth` and `points` besides.

    Raises:
        ConfigError: no such kind, or a wrong field.
        CheckpointError: the checkpoint is missing or does not fit.
    """
    if kind not in TEACHERS:
        raise ConfigError(
            [Fault(f"no teacher {kind!r}{nearest_and_all(kind, TEACHER_KINDS)}", "teacher")]
        )
    try:
        chosen = TEACHERS[kind].model_validate({"checkpoint": checkpoint, **config})
    except ValidationError as error:
        raise ConfigError(
            [
                Fault(fault["msg"], ".".join(str(part) for part in ("teacher", *fault["loc"])))
                for fault in error.errors()
            ]
        ) from error
    return chosen.build(device)
