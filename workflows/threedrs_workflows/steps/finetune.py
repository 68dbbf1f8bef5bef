"""Step "finetune": the joint stage, on Ray Train where Ray runs, else in this process."""

from __future__ import annotations

import json
from collections import defaultdict
from functools import partial
from pathlib import Path

from threedrs_components.benchmarks.sample_files import HELD_OUT_FILE, read_samples
from threedrs_components.objectives.settings import ObjectiveSettings
from threedrs_components.scenes.prepared import PreparedScenes
from threedrs_components.scenes.splits import scenes_of
from threedrs_components.students.folder import resolve_student, weights_digest
from threedrs_components.students.settings import StudentSettings
from threedrs_components.training.launch import train_here
from threedrs_components.training.loop import LOSS, TrainingInputs, TrainingSummary
from threedrs_platform.errors import DataError
from threedrs_platform.records import Metric, Sample
from threedrs_platform.steps import StepTask
from threedrs_platform.store.features import feature_path
from threedrs_workflows.steps.params.finetune import FinetuneParams
from threedrs_workflows.steps.ray_training import GroupResources, ray_is_on, train_on_ray


def run(task: StepTask) -> None:
    """Inputs: scenes, prepared, samples, student, and features where a teacher is distilled.

    Writes the trained student. Checkpoints lie in the scratch folder: a later attempt goes on from
    the newest that is sound, and reports the curve up to there again.
    """
    inputs = training_inputs(task)

    def report(step: int, values: dict[str, float]) -> None:
        task.log(step, values)
        task.progress(step, inputs.training.steps, f"loss {values[LOSS]:.3f}")

    gpus, workers = task.settings.get("gpus", 0), inputs.training.workers
    launch = partial(train_here, gpus=gpus)
    if workers > 1 and ray_is_on():
        cpus, memory = task.settings.get("cpus", workers), task.settings.get("memory_gib")
        launch = partial(train_on_ray, resources=GroupResources(cpus, gpus, memory))
    checkpoints = task.scratch / "checkpoints"
    summary = launch(
        inputs, report=report, checkpoint_dir=checkpoints, out=task.out, warn=task.warn
    )
    _report_cost(task, inputs, summary)


def training_inputs(task: StepTask) -> TrainingInputs:
    """Everything that decides the weights, from the step's params and inputs."""
    params = FinetuneParams.of(task)
    features = task.inputs.get("features")
    student = params.student.open(StudentSettings)
    start = resolve_student(task.inputs["student"], student)
    return TrainingInputs(
        student=student.model_copy(update={"checkpoint": str(start)}),
        prepared=task.inputs["prepared"],
        samples=training_samples(task, params.text_split, features),
        training=params.training,
        objectives=tuple(each.open(ObjectiveSettings) for each in params.objectives),
        features=features,
        seed=params.seed,
        start=weights_digest(task.inputs["student"]),
        validation=held_out_samples(task, features if params.fusion else None),
        fusion=params.fusion,
    )


def held_out_samples(task: StepTask, features: Path | None = None) -> dict[str, list[Sample]]:
    """Samples of the scenes that were held out of training, by scene; none where none were.

    Samples of an evaluated split are never read: training must not look at it.

    Args:
        task: of the step.
        features: folder of those that the student reads beside the frames, if it does.
    """
    samples, prepared = task.inputs["samples"], PreparedScenes(task.inputs["prepared"])
    if not (samples / HELD_OUT_FILE).is_file():
        return {}
    held_out = set(json.loads((samples / HELD_OUT_FILE).read_text()))
    by_scene: dict[str, list[Sample]] = defaultdict(list)
    for sample in read_samples(samples / "evaluation.jsonl"):
        known = features is None or feature_path(features, sample.scene_id).is_file()
        if sample.scene_id in held_out and sample.scene_id in prepared and known:
            by_scene[sample.scene_id].append(sample)
    return dict(by_scene)


def training_samples(
    task: StepTask, text_split: str, features: Path | None
) -> dict[str, list[Sample]]:
    """Training samples by scene; scenes that an earlier step skipped are left out, and named.

    Raises:
        DataError: a scene to train on is also evaluated.
    """
    prepared = PreparedScenes(task.inputs["prepared"])
    split = set(scenes_of(task.inputs["scenes"], text_split))
    by_scene: dict[str, list[Sample]] = defaultdict(list)
    for sample in read_samples(task.inputs["samples"] / "train.jsonl"):
        if sample.scene_id in split:
            by_scene[sample.scene_id].append(sample)
    evaluated = {
        sample.scene_id for sample in read_samples(task.inputs["samples"] / "evaluation.jsonl")
    }
    if both := sorted(evaluated & by_scene.keys()):
        raise DataError(
            f"{len(both)} scenes are in the split {text_split!r} to train on and "
            f"among the evaluated ones, e.g. {both[0]}; evaluate another split (benchmarks.split)"
        )
    for scene_id in sorted(by_scene):
        without_features = features is not None and not feature_path(features, scene_id).is_file()
        if scene_id not in prepared or without_features:
            what = "teacher features" if scene_id in prepared else "prepared file"
            task.warn(f"scene {scene_id} has no {what}; its {len(by_scene[scene_id])} samples rest")
            del by_scene[scene_id]
    return dict(by_scene)


def _report_cost(task: StepTask, inputs: TrainingInputs, summary: TrainingSummary) -> None:
    steps = summary.steps - summary.resumed_from
    if steps > 0:
        scenes = steps * inputs.training.scenes_per_step
        per_scene = summary.seconds / scenes
        task.metric(Metric("training/seconds_per_scene", per_scene, n=scenes, unit="s"))
        per_step = summary.seconds / steps
        task.metric(Metric("training/seconds_per_step", per_step, n=steps, unit="s"))
    for part, count in {"": sum(summary.parameters.values()), **summary.parameters}.items():
        name = f"training/parameters/{part}".removesuffix("/")
        task.metric(Metric(name, count / 1e6, n=1, unit="M"))
    shares = [each.curve(share) for each in inputs.objectives for share in each.shares]
    for name in (LOSS, *shares):
        if name in summary.final:
            unit, scale = ("%", 100) if name in shares else ("nats", 1)
            value = summary.final[name] * scale
            task.metric(Metric(f"training/{name}", value, n=summary.steps, unit=unit))
