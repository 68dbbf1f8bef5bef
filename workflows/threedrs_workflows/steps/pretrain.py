"""Step "pretrain": the 2D start that all students of one architecture share."""

from __future__ import annotations

from pathlib import Path

from threedrs_components.students.folder import write_pointer
from threedrs_components.students.settings import StudentSettings
from threedrs_platform.steps import StepTask
from threedrs_workflows.steps.params.pretrain import PretrainParams


def run(task: StepTask) -> None:
    """Inputs: scenes, where the student is trained. Writes a student folder.

    With given weights the folder only holds their digest: training that starts from other weights
    must not look like the same work, and a renamed folder must not look like other weights. They
    are loaded once here, so that what headers do not tell is told before a GPU waits for them.
    """
    params = PretrainParams.of(task)
    student = params.student.open(StudentSettings)
    if student.checkpoint is not None:
        from threedrs_components.students.whole import check_whole

        assert params.weights is not None, "given weights have a digest"
        check_whole(student, Path(student.checkpoint), task.progress)
        write_pointer(student.checkpoint, params.weights, task.out)
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
        task.warn,
    )
    for metric in metrics:
        task.metric(metric)
