"""Students: multimodal LLMs that show their states at visual tokens. The union lists their kinds.

For what reads grid files, or folders of unknown origin. Steps never import it: they are told the
module of their student (see `threedrs_platform.config.kinds`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

from pydantic import Field

from threedrs_components.students.folder import read_config, read_student_config
from threedrs_components.students.internvl.config import InternVLStudentConfig
from threedrs_components.students.llava_next_video.config import LlavaNextVideoStudentConfig
from threedrs_components.students.llava_onevision import LlavaOneVisionStudentConfig
from threedrs_components.students.llava_video import LlavaVideoConfig
from threedrs_components.students.qwen2_5_vl.config import Qwen25VLStudentConfig
from threedrs_components.students.qwen2_vl.config import Qwen2VLStudentConfig
from threedrs_components.students.qwen3_vl.config import Qwen3VLStudentConfig
from threedrs_platform.config.registry import Registry
from threedrs_platform.errors import CheckpointError

if TYPE_CHECKING:
    from threedrs_components.students.student import Student

AnyStudent = (
    LlavaVideoConfig
    | LlavaOneVisionStudentConfig
    | Qwen2VLStudentConfig
    | Qwen25VLStudentConfig
    | Qwen3VLStudentConfig
    | LlavaNextVideoStudentConfig
    | InternVLStudentConfig
)
StudentConfig = Annotated[AnyStudent, Field(discriminator="kind")]
STUDENTS: Registry[AnyStudent] = Registry("student", get_args(AnyStudent))


def stored_config(folder: Path) -> AnyStudent:
    """Configuration of the student in a folder, whatever its kind; its checkpoint is the folder.

    Raises:
        CheckpointError: the folder holds no student.
        ConfigError: its kind or one of its settings is unknown.
    """
    settings = read_student_config(folder)["student"]
    return STUDENTS.read({**settings, "checkpoint": str(folder)})


def kinds_that_read(folder: Path) -> list[str]:
    """Kinds that start from published weights like those in a folder, by its config.json."""
    try:
        found = read_config(folder).get("model_type")
    except CheckpointError:
        return []
    return [kind for kind in STUDENTS if found in STUDENTS[kind].published]


def open_student(folder: Path | str) -> Student:
    """Read a student, whatever its kind, in evaluation mode.

    Raises:
        CheckpointError: the folder holds no student, or one of its files does not fit.
        ConfigError: its kind or one of its settings is unknown.
    """
    from threedrs_components.students.checkpoints import load_student  # brings torch

    return load_student(Path(folder), stored_config(Path(folder)))
