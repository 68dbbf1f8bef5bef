"""Students: multimodal LLMs that show their states at visual tokens. The union lists them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, get_args

from pydantic import Field, TypeAdapter

from threedrs_components.students.config import (
    LlavaNextVideoStudentConfig,
    LlavaOneVisionStudentConfig,
    LlavaVideoConfig,
    MicroPretrainingConfig,
    Qwen2VLStudentConfig,
    Qwen25VLStudentConfig,
)
from threedrs_components.students.settings import StudentSettings

AnyStudent = (
    LlavaVideoConfig
    | LlavaOneVisionStudentConfig
    | Qwen2VLStudentConfig
    | Qwen25VLStudentConfig
    | LlavaNextVideoStudentConfig
)
StudentConfig = Annotated[AnyStudent, Field(discriminator="kind")]
STUDENT_KINDS = tuple(str(kind.model_fields["kind"].default) for kind in get_args(AnyStudent))
"""Every kind of student."""

__all__ = [
    "STUDENT_KINDS",
    "AnyStudent",
    "LlavaNextVideoStudentConfig",
    "LlavaOneVisionStudentConfig",
    "LlavaVideoConfig",
    "MicroPretrainingConfig",
    "Qwen2VLStudentConfig",
    "Qwen25VLStudentConfig",
    "StudentConfig",
    "StudentSettings",
    "kind_of",
    "student_config",
]


def student_config(values: Mapping[str, Any]) -> AnyStudent:
    """The configuration that JSON values stand for, whatever its kind; parts may be missing."""
    registry: TypeAdapter[AnyStudent] = TypeAdapter(StudentConfig)
    return registry.validate_python(values)


def kind_of(config: StudentSettings) -> str:
    """The name of a configuration's kind."""
    return str(type(config).model_fields["kind"].default)
