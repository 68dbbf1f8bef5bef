"""Step "teacher": pretrain a micro teacher on scenes of its own, or fetch a given checkpoint."""

from __future__ import annotations

from threedrs_components.pretraining.teacher import pretrain_teacher
from threedrs_components.teachers.registry import PretrainTeacherConfig
from threedrs_platform.steps import StepTask


def run(task: StepTask) -> None:
    """Params: pretraining. Inputs: the teacher's scenes. Writes weights and quality."""
    config = PretrainTeacherConfig.model_validate(task.params["pretraining"])
    metrics = pretrain_teacher(
        config,
        task.inputs["scenes"],
        task.out,
        resume_dir=task.scratch,
        progress=task.progress,
        log=task.log,
    )
    for metric in metrics:
        task.metric(metric)
