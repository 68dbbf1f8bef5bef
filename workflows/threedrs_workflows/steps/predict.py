"""Step "predict": answers of a student, trained or as it started, to all evaluation samples."""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor

from threedrs_components.benchmarks.asking import Asking
from threedrs_components.benchmarks.prediction_files import read_predictions, write_predictions
from threedrs_components.benchmarks.sample_files import HELD_OUT_FILE, LEFT_OUT_FILE, read_samples
from threedrs_components.devices import device_for
from threedrs_components.scenes.ahead import ahead, behind, in_memory
from threedrs_components.scenes.prepared import PreparedScene, PreparedScenes
from threedrs_components.students.build import student_at
from threedrs_components.students.guidance import guidance_of
from threedrs_components.students.settings import StudentSettings
from threedrs_components.training.prediction import predict_benchmarks
from threedrs_platform.errors import DataError
from threedrs_platform.records import Metric, Prediction, Sample
from threedrs_platform.sealed import keep_sound, require_sound, write_sealed
from threedrs_platform.steps import StepTask
from threedrs_platform.store.features import feature_path
from threedrs_workflows.steps.params.predict import PredictParams
from threedrs_workflows.steps.processes import Work, over_gpus


def run(task: StepTask) -> None:
    """Inputs: prepared, samples, student, and features for one with fusion.

    Writes predictions.jsonl, and reports what a scene costs.

    Finished scenes wait in the scratch folder, so that a killed attempt loses two. A process for
    each GPU answers the questions about its scenes.
    """
    params, prepared = PredictParams.of(task), PreparedScenes(task.inputs["prepared"])
    by_scene = _by_scene(task.inputs["samples"])
    features = task.inputs.get("features")
    answerable = [
        scene_id
        for scene_id in sorted(by_scene)
        if scene_id in prepared and (features is None or feature_path(features, scene_id).is_file())
    ]
    if unusable := sorted(by_scene.keys() - set(answerable)):
        _leave_out(task, params, {scene_id: len(by_scene[scene_id]) for scene_id in unusable})
    missing = [each for each in answerable if not keep_sound(_path(task.scratch, each), task.warn)]
    answering = Answering(params, task.inputs, task.scratch, task.settings.get("gpus") or 0)
    seconds = [taken for _, taken in over_gpus(task, answering, missing)]
    if seconds:
        mean = sum(seconds) / len(seconds)
        task.metric(Metric("prediction/seconds_per_scene", mean, n=len(seconds), unit="s"))
    answers: list[Prediction] = []
    for scene_id in answerable:
        require_sound(_path(task.scratch, scene_id))
        answers += read_predictions(_path(task.scratch, scene_id))
    write_predictions(task.out / "predictions.jsonl", answers)


def _leave_out(task: StepTask, params: PredictParams, questions: Mapping[str, int]) -> None:
    """Refuse scenes that could not be prepared, or note them for the score: they are not wrong.

    Raises:
        DataError: they are refused.
    """
    told = f"{sum(questions.values())} questions are about {len(questions)} scenes that could not "
    lacking = "be prepared, or have no features" if "features" in task.inputs else "be prepared"
    told += f"{lacking}, e.g. {next(iter(questions))}"
    if params.missing_scenes == "refuse":
        raise DataError(
            f"{told}; the warnings of step prepare say why. Mend these scenes, or set "
            "benchmarks.missing_scenes: leave_out to score the others alone"
        )
    task.warn(f"left out: {told}")
    (task.out / LEFT_OUT_FILE).write_text(json.dumps([*questions]))


@dataclass(frozen=True)
class Answering:
    """What a process that answers questions is given."""

    params: PredictParams
    inputs: Mapping[str, Path]
    out: Path
    gpus: float

    def __call__(self) -> Work[float]:
        """Load the student, whose answers about a scene make one file; seconds for each."""
        params, samples = self.params, self.inputs["samples"]
        student = student_at(
            self.inputs["student"],
            params.student.open(StudentSettings),
            params.evaluation.dtype,
            device_for(self.gpus),
        )
        prepared = PreparedScenes(self.inputs["prepared"], pairs=False)
        by_scene, asking = _by_scene(samples), _asking(params.asking, samples)
        guidance = guidance_of(student, self.inputs.get("features"))

        def read(scene_id: str) -> tuple[PreparedScene, Tensor | None]:
            scene = in_memory(prepared[scene_id])
            return scene, guidance(scene)

        def answer(scene_ids: Sequence[str]) -> Generator[_Answered, None, None]:
            with closing(ahead(read, scene_ids)) as scenes:
                for scene_id, (scene, maps) in zip(scene_ids, scenes, strict=True):
                    started = time.monotonic()
                    answers = predict_benchmarks(student, scene, by_scene[scene_id], asking, maps)
                    _refuse_overflow(answers, scene_id, params.evaluation.dtype)
                    yield _Answered(scene_id, answers, time.monotonic() - started)

        return lambda scene_ids: behind(self._write, answer(scene_ids))

    def _write(self, scene: _Answered) -> tuple[str, float]:
        write = partial(write_predictions, predictions=scene.answers)
        write_sealed(_path(self.out, scene.scene_id), write)
        return scene.scene_id, scene.seconds


@dataclass(frozen=True)
class _Answered:
    """A scene's answers, and how long they took."""

    scene_id: str
    answers: Sequence[Prediction]
    seconds: float


def _by_scene(samples: Path) -> dict[str, list[Sample]]:
    """Questions to be answered, scene by scene."""
    by_scene: dict[str, list[Sample]] = defaultdict(list)
    for sample in read_samples(samples / "evaluation.jsonl"):
        by_scene[sample.scene_id].append(sample)
    return by_scene


def _path(folder: Path, scene_id: str) -> Path:
    return folder / f"{scene_id}.jsonl"


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
