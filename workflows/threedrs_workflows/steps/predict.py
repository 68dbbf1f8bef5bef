"""Step "predict": answers of a trained student to all evaluation samples."""

from __future__ import annotations

from collections import defaultdict

import torch

from threedrs_components.benchmarks.prediction_files import read_predictions, write_predictions
from threedrs_components.benchmarks.sample_files import read_samples
from threedrs_components.scenes.prepared import PreparedScene, PreparedScenes
from threedrs_components.students.checkpoints import load_student
from threedrs_components.training.devices import device_for
from threedrs_components.training.prediction import predict_scene
from threedrs_platform.records import Prediction, Sample
from threedrs_platform.steps import StepTask
from threedrs_workflows.steps.evaluation_samples import HELD_OUT_FILE


def run(task: StepTask) -> None:
    """Inputs: prepared, samples, student. Writes predictions.jsonl.

    Finished scenes wait in the scratch folder, so that a killed attempt loses one.
    """
    student = load_student(task.inputs["student"]).to(device_for(task.settings.get("gpus", 0)))
    prepared = PreparedScenes(task.inputs["prepared"])
    by_scene: dict[str, list[Sample]] = defaultdict(list)
    for sample in read_samples(task.inputs["samples"] / "evaluation.jsonl"):
        by_scene[sample.scene_id].append(sample)
    held_out = (task.inputs["samples"] / HELD_OUT_FILE).is_file()  # numbers nobody publishes
    predictions: list[Prediction] = []
    for done, scene_id in enumerate(sorted(by_scene)):
        task.progress(done, len(by_scene), scene_id)
        if scene_id not in prepared:
            task.warn(f"scene {scene_id} was not prepared; its samples get no prediction")
            continue
        path = task.scratch / f"{scene_id}.jsonl"
        if not path.is_file():
            unfinished = path.with_suffix(".unfinished")
            answers = predict_scene(student, prepared[scene_id], by_scene[scene_id])
            write_predictions(unfinished, answers)
            unfinished.replace(path)
        if not held_out and has_true_boxes_as_candidates(prepared[scene_id]):
            task.warn(
                f"scene {scene_id} came without proposals: its true boxes were the candidates, "
                "so grounding and captions are easier than in any published number"
            )
        predictions += read_predictions(path)
    write_predictions(task.out / "predictions.jsonl", predictions)
    task.progress(len(by_scene), len(by_scene))


def has_true_boxes_as_candidates(scene: PreparedScene) -> bool:
    """Whether grounding would choose among the scene's own boxes: what preparing falls back on."""
    return len(scene.boxes) > 0 and torch.equal(scene.proposals, scene.boxes)
