"""Step "teacher": pretrain a micro teacher on scenes of its own."""

from __future__ import annotations

from threedrs_components.pretraining.teacher import pretrain_teacher
from threedrs_components.pretraining.teacher_config import TeacherPretraining
from threedrs_platform.steps import StepTask
from threedrs_workflows.steps.params.teacher import TeacherParams


def run(task: StepTask) -> None:
    """Inputs: the teacher's scenes. Writes weights and quality."""
    recipe = TeacherParams.of(task).pretraining.open(TeacherPretraining)
    metrics = pretrain_teacher(
        recipe,
        task.inputs["scenes"],
        task.out,
        resume_dir=task.scratch,
        progress=task.progress,
        log=task.log,
        warn=task.warn,
    )
    for metric in metrics:
        task.metric(metric)
