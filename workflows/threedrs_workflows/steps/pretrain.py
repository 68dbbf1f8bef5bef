"""Step "pretrain": the 2D start that all students of one architecture share."""

from __future__ import annotations

import json

from threedrs_components.students.checkpoints import write_pointer
from threedrs_components.students.registry import MicroPretrainingConfig, student_config
from threedrs_platform.steps import StepTask


def run(task: StepTask) -> None:
    """Params: student, and pretraining or weights. Inputs: scenes. Writes a student folder.

    With real weights the folder only points at them, and holds their digest: training that starts
    from other weights must not look like the same work.
    """
    student = student_config(task.params["student"])
    if student.checkpoint is not None:
        write_pointer(student.checkpoint, task.out)
        (task.out / "weights.json").write_text(json.dumps(task.params["weights"]))
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
