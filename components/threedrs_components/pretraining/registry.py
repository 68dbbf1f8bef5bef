"""The registry of what trains a micro teacher; no step imports it.

A kind of teacher that can be trained has a name in `AnyTeacherPretraining`, beside its name in the
registry of teachers.
"""

from __future__ import annotations

from typing import get_args

from threedrs_components.pretraining.mae.config import MAEPretrainingConfig
from threedrs_components.pretraining.teacher_config import TeacherPretraining, TeacherRecipe
from threedrs_components.pretraining.vggt.config import VGGTPretrainingConfig
from threedrs_components.teachers.settings import TeacherSettings
from threedrs_platform.config.registry import Registry
from threedrs_platform.errors import ConfigError, Fault

AnyTeacherPretraining = VGGTPretrainingConfig | MAEPretrainingConfig
TEACHER_PRETRAININGS: Registry[TeacherPretraining] = Registry(
    "pretraining", get_args(AnyTeacherPretraining)
)


def pretraining_of(teacher: TeacherSettings, recipe: TeacherRecipe) -> TeacherPretraining:
    """What trains a teacher by a recipe.

    Raises:
        ConfigError: teachers of this kind cannot be trained here.
    """
    if teacher.kind not in TEACHER_PRETRAININGS:
        known = ", ".join(TEACHER_PRETRAININGS)
        message = f"a teacher of kind {teacher.kind!r} cannot be trained here, only {known}"
        raise ConfigError([Fault(message, "teacher_pretraining")])
    return TEACHER_PRETRAININGS[teacher.kind].of(teacher, recipe)
