"""Step "pretrain": the 2D start that all students of one architecture share."""

from __future__ import annotations

import json

from threedrs_components.students.checkpoints import write_pointer
from threedrs_components.students.settings import StudentSettings
from threedrs_platform.steps import StepTask
from threedrs_workflows.steps.params.pretrain import PretrainParams


def run(task: StepTask) -> None:
    """Inputs: scenes, where the student is trained. Writes a student folder.

    With real weights the folder only points at them, and holds their digest: training that starts
    from other weights must not look like the same work.
    """
    params = PretrainParams.of(task)
    student = params.student.open(StudentSettings)
    if student.checkpoint is not None:
        write_pointer(student.checkpoint, task.out)
        (task.out / "weights.json").write_text(json.dumps(params.weights))
        return
    from threedrs_components.pretraining.student import pretrain_student

    assert params.student_pretraining is not None, "a student without weights has a recipe"
    metrics = pretrain_student(
        params.student_pretraining,
        student,
        task.inputs["scenes"],
        task.out,
        task.scratch,
        task.progress,
    )
    for metric in metrics:
        task.metric(metric)
