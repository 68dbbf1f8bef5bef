"""Step "pretrain": the 2D start that all students of one architecture share."""

from __future__ import annotations

from threedrs_components.pretraining.student_config import MicroPretrainingConfig
from threedrs_components.students.folder import write_pointer
from threedrs_components.students.registry import STUDENTS
from threedrs_platform.steps import StepTask


def run(task: StepTask) -> None:
    """Params: student, and pretraining or weights. Inputs: scenes. Writes a student folder.

    With weights elsewhere the folder only holds their digest: training that starts from other
    weights must not look like the same work, and a renamed folder must not look like other weights.
    """
    student = STUDENTS.read(task.params["student"])
    if student.checkpoint is not None:
        write_pointer(student.checkpoint, task.params["weights"], task.out)
        return
    from threedrs_components.pretraining.student import pretrain_student

    recipe = task.params["pretraining"] | task.settings.get("student_pretraining", {})
    metrics = pretrain_student(
        MicroPretrainingConfig.model_validate(recipe),
        student,
        task.inputs["scenes"],
        task.out,
        task.scratch,
        task.progress,
    )
    for metric in metrics:
        task.metric(metric)
