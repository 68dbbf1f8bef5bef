"""Pretrained models that turn frames into dense features; `TeacherConfig` is their registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from pydantic import TypeAdapter, ValidationError

from threedrs_components.teachers.config import (
    MAEArchitecture,
    MAEConfig,
    PretrainTeacherConfig,
    TeacherConfig,
    VGGTArchitecture,
    VGGTConfig,
)
from threedrs_platform.errors import ConfigError, Fault

if TYPE_CHECKING:
    from threedrs_components.teachers.mae import MAETeacher
    from threedrs_components.teachers.vggt import VGGTTeacher

TEACHER_KINDS = tuple(
    str(member.model_fields["kind"].default) for member in get_args(get_args(TeacherConfig)[0])
)
"""Every kind that `load_teacher` knows."""

__all__ = [
    "TEACHER_KINDS",
    "MAEArchitecture",
    "MAEConfig",
    "PretrainTeacherConfig",
    "TeacherConfig",
    "VGGTArchitecture",
    "VGGTConfig",
    "load_teacher",
]


def load_teacher(
    kind: str, checkpoint: str, *, device: str = "cpu", **config: Any
) -> VGGTTeacher | MAETeacher:
    """Load a teacher by its kind; further keywords are fields of its config.

    Raises:
        ConfigError: no such kind, or a wrong field.
        CheckpointError: the checkpoint is missing or does not fit.
    """
    registry: TypeAdapter[VGGTConfig | MAEConfig] = TypeAdapter(TeacherConfig)
    try:
        chosen = registry.validate_python({"kind": kind, "checkpoint": checkpoint, **config})
    except ValidationError as error:
        raise ConfigError(
            [
                Fault(fault["msg"], ".".join(str(part) for part in ("teacher", *fault["loc"])))
                for fault in error.errors()
            ]
        ) from error
    return chosen.build(device)
