"""Pretrained models that turn frames into dense features; the union below is their registry."""

from threedrs_components.teachers.config import (
    MAEArchitecture,
    MAEConfig,
    PretrainTeacherConfig,
    TeacherConfig,
    VGGTArchitecture,
    VGGTConfig,
)

__all__ = [
    "MAEArchitecture",
    "MAEConfig",
    "PretrainTeacherConfig",
    "TeacherConfig",
    "VGGTArchitecture",
    "VGGTConfig",
]
