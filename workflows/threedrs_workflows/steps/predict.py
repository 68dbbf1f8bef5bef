"""Step "predict": answers of a student, trained or as it started, to all evaluation samples."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from threedrs_components.benchmarks.asking import Asking
from threedrs_components.benchmarks.prediction_files import read_predictions, write_predictions
from threedrs_components.benchmarks.sample_files import HELD_OUT_FILE, read_samples
from threedrs_components.devices import device_for
from threedrs_components.scenes.ahead import ahead, in_memory
from threedrs_components.scenes.prepared import PreparedScenes
from threedrs_components.students.build import student_at
from threedrs_components.students.settings import StudentSettings
from threedrs_components.training.prediction import predict_benchmarks
from threedrs_platform.errors import DataError
from threedrs_platform.records import Prediction, Sample
from threedrs_platform.steps import StepTask
from threedrs_workflows.steps.params.predict import PredictParams


def run(task: StepTask) -> None:
    """Inputs: prepared, samples, student. Writes predictions.jsonl.

    Finished scenes wait in the scratch folder, so that a killed attempt loses one.
    """
    params = PredictParams.of(task)
    student = student_at(
        task.inputs["student"],
        params.student.open(StudentSettings),
        params.evaluation.dtype,
        device_for(task.settings.get("gpus", 0)),
    )
    prepared = PreparedScenes(task.inputs["prepared"])
    by_scene: dict[str, list[Sample]] = defaultdict(list)
    for sample in read_samples(task.inputs["samples"] / "evaluation.jsonl"):
        by_scene[sample.scene_id].append(sample)
    asking = _asking(params.asking, task.inputs["samples"])
    predictions: list[Prediction] = []
    unanswered = [
        scene_id
        for scene_id in sorted(by_scene)
        if scene_id in prepared and not (task.scratch / f"{scene_id}.jsonl").is_file()
    ]
    with closing(ahead(lambda scene_id: in_memory(prepared[scene_id]), unanswered)) as scenes:
        for done, scene_id in enumerate(sorted(by_scene)):
            task.progress(done, len(by_scene), scene_id)
            if scene_id not in prepared:
                task.warn(f"scene {scene_id} was not prepared; its samples get no prediction")
                continue
            path = task.scratch / f"{scene_id}.jsonl"
            if not path.is_file():
                unfinished = path.with_suffix(".unfinished")
                answers = predict_benchmarks(student, next(scenes), by_scene[scene_id], asking)
                _refuse_overflow(answers, scene_id, params.evaluation.dtype)
                write_predictions(unfinished, answers)
                unfinished.replace(path)
            predictions += read_predictions(path)
    write_predictions(task.out / "predictions.jsonl", predictions)
    task.progress(len(by_scene), len(by_scene))


def _refuse_overflow(answers: Sequence[Prediction], scene_id: str, dtype: str) -> None:
    """States that a format cannot hold give no score, and would be ranked all the same."""
    if not all(math.isfinite(score) for answer in answers for score in answer.scores):
        raise DataError(
            f"scene {scene_id}: a score is not a number; the student's states are too large for "
            f"evaluation.dtype: {dtype}, set bfloat16 or float32"
        )


def _asking(asking: dict[str, Asking], samples: Path) -> dict[str, Asking]:
    """How each benchmark asks. Nobody proposes boxes for held-out scenes, so they have their own:
    numbers to choose settings by, which nobody publishes."""
    if (samples / HELD_OUT_FILE).is_file():
        true_boxes = {"candidates": "ground_truth"}
        return {name: how.model_copy(update=true_boxes) for name, how in asking.items()}
    return asking
