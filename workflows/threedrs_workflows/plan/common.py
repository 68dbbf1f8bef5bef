"""What cells of a grid have in common: it decides all of their steps but training."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Literal

from threedrs_components.benchmarks.config import BenchmarksConfig
from threedrs_components.pretraining.student_config import MicroPretrainingConfig
from threedrs_components.pretraining.teacher_config import TeacherRecipe
from threedrs_components.probing.config import ProbeConfig
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.registry import ScenesConfig
from threedrs_components.students.registry import StudentConfig
from threedrs_components.teachers.registry import TeacherConfig
from threedrs_components.training.evaluation_config import EvaluationConfig
from threedrs_workflows.experiment import Experiment


@dataclass(frozen=True)
class Common:
    """What of an experiment decides all of its steps but training: cells share those."""

    scenes: ScenesConfig
    prepare: PrepareConfig
    benchmarks: BenchmarksConfig
    student: str
    student_config: StudentConfig
    student_pretraining: MicroPretrainingConfig
    teacher: str
    teacher_config: TeacherConfig | None
    teacher_recipe: TeacherRecipe | None
    probe: ProbeConfig
    evaluation: EvaluationConfig
    held_out: float
    teacher_area: float
    frames: Literal["student", "all_images"]
    reads_features: bool
    """Whether a loss or the student reads the teacher's features."""
    reads_depth: bool
    """Whether a loss compares with the teacher's depth."""
    fuses: bool
    """Whether the student reads the teacher's features in evaluation, too."""

    @classmethod
    def of(cls, experiment: Experiment) -> Common:
        """Of a cell."""
        teacher = experiment.teacher_config()
        untrained = teacher is not None and not teacher.is_ready
        recipes = experiment.teacher_pretraining
        return cls(
            scenes=experiment.scenes,
            prepare=experiment.prepare,
            benchmarks=experiment.benchmarks,
            student=experiment.student,
            student_config=experiment.student_config(),
            student_pretraining=experiment.student_pretraining,
            teacher=experiment.teacher,
            teacher_config=teacher,
            teacher_recipe=recipes[experiment.teacher] if untrained else None,
            probe=experiment.probe,
            evaluation=experiment.evaluation,
            held_out=experiment.held_out,
            teacher_area=experiment.teacher_area(),
            frames=experiment.alignment.frames,
            reads_features=experiment.reads_teacher_features(),
            reads_depth=experiment.reads_teacher_depth(),
            fuses=experiment.fuses(),
        )

    @property
    def key(self) -> Hashable:
        """Equal for cells that share the objects above; whoever holds it holds them."""
        return tuple(
            each if isinstance(each, str | float | None) else id(each)
            for each in (getattr(self, name) for name in self.__dataclass_fields__)
        )
