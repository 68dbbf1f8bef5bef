"""Step "finetune": the joint stage, on Ray Train where Ray runs, else in this process."""

from __future__ import annotations

from functools import partial

from threedrs_components.objectives.settings import ObjectiveSettings
from threedrs_components.students.folder import resolve_student, weights_digest
from threedrs_components.students.settings import StudentSettings
from threedrs_components.training.launch import train_here
from threedrs_components.training.loop import TrainingInputs
from threedrs_platform.steps import StepTask
from threedrs_workflows.steps.params.finetune import FinetuneParams
from threedrs_workflows.steps.ray_training import GroupResources, ray_is_on, train_on_ray
from threedrs_workflows.steps.training_report import TrainingReports, report_training
from threedrs_workflows.steps.training_samples import held_out_samples, training_samples


def run(task: StepTask) -> None:
    """Inputs: scenes, prepared, samples, student; features, teacher_depth where they take part.

    Writes the trained student. Checkpoints lie in the scratch folder: a later attempt goes on from
    the newest that is sound, and reports the curve up to there again.
    """
    inputs = training_inputs(task)
    checkpoints = task.scratch / "checkpoints"
    told = TrainingReports(task, inputs.training, checkpoints)
    gpus, workers = task.settings.get("gpus", 0), inputs.training.workers
    launch = partial(train_here, gpus=gpus, log_file=task.log_file, pulse=told.pulse)
    if workers > 1 and ray_is_on():
        cpus, memory = task.settings.get("cpus", workers), task.settings.get("memory_gib")
        launch = partial(train_on_ray, resources=GroupResources(cpus, gpus, memory))
    summary = launch(
        inputs,
        report=told.report,
        checkpoint_dir=checkpoints,
        out=task.out,
        warn=task.warn,
        begins=told.begins,
    )
    report_training(task, inputs, summary)


def training_inputs(task: StepTask) -> TrainingInputs:
    """Everything that decides the weights, from the step's params and inputs."""
    params = FinetuneParams.of(task)
    features, depth = (task.inputs.get(each) for each in ("features", "teacher_depth"))
    student = params.student.open(StudentSettings)
    start = resolve_student(task.inputs["student"], student)
    return TrainingInputs(
        student=student.model_copy(update={"checkpoint": str(start)}),
        prepared=task.inputs["prepared"],
        samples=training_samples(task, params.text_split, features or depth),
        training=params.training,
        objectives=tuple(each.open(ObjectiveSettings) for each in params.objectives),
        features=features,
        teacher_depth=depth,
        seed=params.seed,
        start=weights_digest(task.inputs["student"]),
        validation=held_out_samples(task, features if params.fusion else None),
        fusion=params.fusion,
    )
