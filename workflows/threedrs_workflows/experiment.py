"""The Experiment: one tree of every choice that makes one cell, and what of it has an effect.

The only place that knows all components together; it imports their configurations, never torch.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from threedrs_components.benchmarks.config import BenchmarksConfig
from threedrs_components.objectives.alignment.config import AlignmentConfig
from threedrs_components.objectives.registry import OBJECTIVES, ObjectivesConfig
from threedrs_components.objectives.settings import ObjectiveSettings
from threedrs_components.pretraining.registry import pretraining_of
from threedrs_components.pretraining.student_config import MicroPretrainingConfig
from threedrs_components.pretraining.teacher_config import TeacherPretraining, TeacherRecipe
from threedrs_components.probing.config import ProbeConfig
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.registry import ScenesConfig
from threedrs_components.students.fusion_settings import FusionSettings
from threedrs_components.students.places import refuse_twice
from threedrs_components.students.registry import StudentConfig
from threedrs_components.teachers.registry import TeacherConfig
from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.evaluation_config import EvaluationConfig
from threedrs_platform.config import Config
from threedrs_platform.config.suggestions import did_you_mean, nearest_and_all
from threedrs_workflows.experiment_checks import (
    check_all_images,
    check_annotations,
    check_candidates,
    check_colour_alone,
    check_fusion,
    check_grid,
    check_heads,
    check_sampling,
    check_splits,
)
from threedrs_workflows.objective_checks import check_objective, check_places, check_rates

NO_TEACHER = "none"
"""The name that stands for training without a teacher."""


class Ingredients(Config):
    """Scenes, students and teachers: what stands before the losses, whose settings they check."""

    scenes: ScenesConfig
    """Where frames, depth, cameras and boxes come from."""
    prepare: PrepareConfig = PrepareConfig()
    students: dict[str, StudentConfig] = Field(min_length=1)
    """Students by name."""
    student: str
    """The name of the one to train."""
    student_pretraining: MicroPretrainingConfig = MicroPretrainingConfig()
    """What a student without a checkpoint learns first."""
    teachers: dict[str, TeacherConfig] = Field(default_factory=dict)
    """Teachers by name."""
    teacher_pretraining: dict[str, TeacherRecipe] = Field(default_factory=dict)
    """How those of them without a checkpoint are trained; the model itself stands in `teachers`."""
    teacher: str = NO_TEACHER
    """The name of the one to distil from, or to fuse with, or none."""


# Fields of the last base come first, and validators see what comes before their own field.
class Experiment(ObjectivesConfig, Ingredients):
    """Everything that is chosen for one cell."""

    fusion: FusionSettings = FusionSettings()
    training: TrainingConfig = Field(default=TrainingConfig(), validate_default=True)
    probe: ProbeConfig = ProbeConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    held_out: float = Field(default=0.0, ge=0, lt=1, validate_default=True)
    """Share of the annotated training scenes that training leaves out, and that are evaluated in
    place of `benchmarks.split`: for choosing settings. 0 trains on all and evaluates the split."""
    benchmarks: BenchmarksConfig = Field(default=BenchmarksConfig(), validate_default=True)
    seed: int = Field(default=0, ge=0)
    """Set from the grid's `seeds`; no part of the identity."""

    @field_validator("student")
    @classmethod
    def _student_fits(cls, name: str, info: ValidationInfo) -> str:
        students, prepare = info.data.get("students"), info.data.get("prepare")
        if students is not None and name not in students:
            raise ValueError(f"no student {name!r} in students{nearest_and_all(name, students)}")
        if students is not None and prepare is not None:
            check_grid(students[name], prepare)
        scenes = info.data.get("scenes")
        if students is not None and scenes is not None and not scenes.has_geometry:
            check_colour_alone(name, students[name], scenes)
        return name

    @field_validator("prepare")
    @classmethod
    def _enough_frames(cls, prepare: PrepareConfig, info: ValidationInfo) -> PrepareConfig:
        scenes = info.data.get("scenes")
        rendered = scenes.most_frames if scenes is not None else None
        if rendered is not None and prepare.num_frames > rendered:
            raise ValueError(f"num_frames {prepare.num_frames}: scenes have only {rendered} frames")
        if scenes is not None and scenes.keeps_every_frame and prepare.num_frames != rendered:
            raise ValueError(
                f"num_frames {prepare.num_frames}: all frames of a clip are to be seen "
                f"(scenes.moments: all), and there may be {rendered}; set both num_frames alike"
            )
        if scenes is not None and prepare.sampling == "coverage":
            check_sampling(prepare, scenes)
        if scenes is not None and prepare.birds_eye and not scenes.has_geometry:
            raise ValueError(
                f"birds_eye: scenes of kind {scenes.kind} have no depth and no cameras to see them "
                "from above with; set prepare.birds_eye: null"
            )
        return prepare

    @field_validator("teacher_pretraining")
    @classmethod
    def _pretraining_is_of_a_teacher(
        cls, table: dict[str, TeacherRecipe], info: ValidationInfo
    ) -> dict[str, TeacherRecipe]:
        teachers = info.data.get("teachers")
        for name in table:
            if teachers is not None and name not in teachers:
                raise ValueError(f"no teacher {name!r} in teachers{did_you_mean(name, teachers)}")
        return table

    @field_validator("teacher")
    @classmethod
    def _teacher_exists(cls, name: str, info: ValidationInfo) -> str:
        teachers, pretraining = info.data.get("teachers"), info.data.get("teacher_pretraining")
        if name == NO_TEACHER or teachers is None or pretraining is None:
            return name
        if name not in teachers:
            known = [*teachers, NO_TEACHER]
            raise ValueError(f"no teacher {name!r} in teachers{nearest_and_all(name, known)}")
        if not teachers[name].is_ready and name not in pretraining:
            raise ValueError(
                f"teacher {name!r} has neither a checkpoint (teachers.{name}.checkpoint) "
                f"nor a recipe (teacher_pretraining.{name})"
            )
        student = _student(info)
        if student is not None and student.blind:
            raise ValueError(f"a blind student has no visual tokens to align; use {NO_TEACHER}")
        return name

    @field_validator(*OBJECTIVES, "probe")
    @classmethod
    def _layers_exist(cls, section: Any, info: ValidationInfo) -> Any:
        student = _student(info)
        if student is None or (student.size == "micro" and student.checkpoint is not None):
            return section
        of_loss = isinstance(section, ObjectiveSettings)
        check_places(section.visual_layers if of_loss else section.named_places, student.layers)
        refuse_twice(section.visual_layers if of_loss else section.named_places[1:], student.layers)
        return section

    @field_validator(*OBJECTIVES)
    @classmethod
    def _student_sees(cls, objective: ObjectiveSettings, info: ValidationInfo) -> ObjectiveSettings:
        check_objective(objective, _student(info), info.data)
        return objective

    @field_validator("alignment")
    @classmethod
    def _teacher_frames_exist(
        cls, alignment: AlignmentConfig, info: ValidationInfo
    ) -> AlignmentConfig:
        scenes, prepare = info.data.get("scenes"), info.data.get("prepare")
        if alignment.frames == "all_images" and scenes is not None and prepare is not None:
            check_all_images(scenes, prepare)
        return alignment

    @field_validator("fusion")
    @classmethod
    def _fusion_has_a_teacher(cls, fusion: FusionSettings, info: ValidationInfo) -> FusionSettings:
        alignment, taught = info.data.get("alignment"), info.data.get("teacher") != NO_TEACHER
        check_fusion(fusion, alignment.frames if alignment else "student", taught=taught)
        if fusion.mode == "cross_attention":
            check_heads(fusion.heads, None, _student(info))
        return fusion

    @field_validator("reconstruction")
    @classmethod
    def _frames_are_left(cls, reconstruction: Any, info: ValidationInfo) -> Any:
        prepare = info.data.get("prepare")
        hides = reconstruction.is_on and reconstruction.every > 0
        if hides and prepare is not None and prepare.num_frames == 1:
            raise ValueError("of one frame none can be hidden; set weight: 0, or more num_frames")
        if reconstruction.is_on:
            check_heads(reconstruction.heads, reconstruction.width, _student(info))
        return reconstruction

    @field_validator("benchmarks")
    @classmethod
    def _can_be_evaluated(cls, benchmarks: BenchmarksConfig, info: ValidationInfo) -> Any:
        scenes, held_out = info.data.get("scenes"), info.data.get("held_out", 0.0)
        if scenes is not None:
            check_splits(benchmarks, scenes)
        if scenes is not None and not held_out:
            check_candidates(benchmarks, scenes)
        if scenes is not None:
            check_annotations(benchmarks, scenes)
        return benchmarks

    @field_validator("training")
    @classmethod
    def _something_to_learn(cls, training: TrainingConfig, info: ValidationInfo) -> TrainingConfig:
        objectives = [info.data[name] for name in OBJECTIVES if name in info.data]
        check_rates(training, objectives, _student(info), info.data)
        unknown = "teacher" not in info.data or len(objectives) < len(OBJECTIVES)
        if training.steps == 0 or unknown:
            return training
        taught = info.data["teacher"] != NO_TEACHER
        if not any(each.is_on and (taught or not each.reads_teacher) for each in objectives):
            weights = ", ".join(f"{name}.weight" for name in OBJECTIVES)
            raise ValueError(
                f"{training.steps} steps with nothing to learn: all of {weights} are off"
            )
        return training

    @field_validator("training")
    @classmethod
    def _scenes_share_batches(cls, training: TrainingConfig, info: ValidationInfo) -> Any:
        scenes, workers = info.data.get("scenes"), training.workers
        alone = training.rounds(workers) * workers == training.scenes_per_step
        if scenes is not None and scenes.frames_vary and training.steps and not alone:
            raise ValueError(
                f"scenes of kind {scenes.kind} have different numbers of frames, so each is a "
                "batch of its own; set gradient_accumulation: null"
            )
        return training

    @field_validator("held_out")
    @classmethod
    def _validation_is_held_out(cls, share: float, info: ValidationInfo) -> float:
        training = info.data.get("training")
        if training is not None and training.validate_every and not share:
            raise ValueError(
                "training.validate_every needs scenes that are held out of training: set held_out "
                "(training never looks at the split that is evaluated)"
            )
        return share

    def student_config(self) -> StudentConfig:
        """The chosen student."""
        return self.students[self.student]

    def teacher_config(self) -> TeacherConfig | None:
        """The chosen teacher, None when nothing is distilled or fused."""
        return self.teachers[self.teacher] if self.has_teacher() else None

    def pretraining_of_teacher(self) -> TeacherPretraining | None:
        """How the chosen teacher is trained, None when it needs no training or there is none."""
        teacher = self.teacher_config()
        if teacher is None or teacher.is_ready:
            return None
        return pretraining_of(teacher, self.teacher_pretraining[self.teacher])

    def distils(self) -> bool:
        """Whether some loss reads what a teacher makes of the scenes."""
        return any(each.reads_teacher for each in self.active_objectives())

    def reads_teacher_features(self) -> bool:
        """Whether some loss, or the student, reads a teacher's features."""
        read = any(each.reads_teacher_features for each in self.active_objectives())
        return read or self.fuses()

    def reads_teacher_depth(self) -> bool:
        """Whether some loss compares with a teacher's depth."""
        return any(each.reads_teacher_depth for each in self.active_objectives())

    def fuses(self) -> bool:
        """Whether the student reads a teacher's features, in training and in evaluation."""
        return self.trains() and self.fusion.is_on

    def has_teacher(self) -> bool:
        """Whether a teacher takes part, in either way."""
        return self.distils() or self.fuses()

    def teacher_area(self) -> float:
        """Share of a frame's height and width whose teacher features are pooled to tokens."""
        whole = self.alignment.teacher_area == "frame"
        return 1.0 if whole else self.prepare.seen / self.prepare.image_size

    def trains(self) -> bool:
        """Whether anything is trained; with training.steps: 0 the start is evaluated as it is."""
        return self.training.steps > 0

    def active_objectives(self) -> tuple[ObjectiveSettings, ...]:
        """The losses that take part in training."""
        return self.active(has_teacher=self.teacher != NO_TEACHER) if self.trains() else ()


def _student(info: ValidationInfo) -> StudentConfig | None:
    students, name = info.data.get("students"), info.data.get("student")
    return students[name] if students and name in students else None
