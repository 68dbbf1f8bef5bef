"""Step "score": a student's predictions against the samples that it was asked."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from threedrs_components.benchmarks.prediction_files import read_predictions
from threedrs_components.benchmarks.sample_files import LEFT_OUT_FILE, read_samples
from threedrs_components.benchmarks.scorer import Scorer
from threedrs_components.metrics.meteor.data import ABSENT
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Metric, Prediction, Sample
from threedrs_platform.steps import StepTask
from threedrs_workflows.steps.params.score import ScoreParams


def run(task: StepTask) -> None:
    """Inputs: samples, predictions (JSON Lines files). Writes metrics.json.

    Missing predictions count as wrong and are reported as a metric.
    """
    params = ScoreParams.of(task)
    scorers = [each.open(Scorer) for each in params.scorers]
    missing = [name for name, version in params.packages.items() if version == ABSENT]
    if missing and not any(scorer.uses_meteor for scorer in scorers):
        task.warn(f"METEOR is left out: no {', '.join(missing)}; pip install -e '.[eval]'")
    samples: dict[str, list[Sample]] = {scorer.kind: [] for scorer in scorers}
    left_out = _left_out(task.inputs["predictions"])
    for sample in read_samples(task.inputs["samples"] / "evaluation.jsonl"):
        if sample.scene_id not in left_out:
            samples[sample.benchmark].append(sample)
    predictions = predictions_by_benchmark(task.inputs["predictions"], samples)
    metrics: list[Metric] = []
    for done, scorer in enumerate(scorers):
        task.progress(done, len(scorers), scorer.kind)
        if not samples[scorer.kind]:
            task.warn(f"{scorer.kind} has no score: none of its scenes is here")
            continue
        evaluation = scorer.evaluate(samples[scorer.kind], predictions[scorer.kind])
        for said in (*evaluation.warnings, *evaluation.unread):
            task.warn(f"{scorer.kind}: {said}")
        found, scores = evaluation.flat()
        task.sample_scores(scores)
        metrics += found
    for metric in metrics:
        task.metric(metric)
    table = [asdict(metric) for metric in metrics]
    (task.out / "metrics.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
    task.progress(len(scorers), len(scorers))


def _left_out(predictions: Path) -> frozenset[str]:
    """Scenes that nobody was asked about."""
    path = predictions / LEFT_OUT_FILE
    return frozenset(json.loads(path.read_text())) if path.is_file() else frozenset()


def predictions_by_benchmark(
    folder: Path, samples: Mapping[str, Sequence[Sample]]
) -> dict[str, list[Prediction]]:
    """The predictions of all JSON Lines files of a folder, by the benchmark their id belongs to.

    Raises:
        AnnotationError: there is no such file, or an id belongs to no sample.
    """
    files = sorted(folder.glob("*.jsonl"))
    if not files:
        raise AnnotationError(folder, "-", "file", "holds no *.jsonl file with predictions")
    owner = {item.sample_id: name for name, items in samples.items() for item in items}
    found: dict[str, list[Prediction]] = defaultdict(list)
    for path in files:
        for index, prediction in enumerate(read_predictions(path)):
            if prediction.sample_id not in owner:
                reason = f"{prediction.sample_id!r} is no sample of {', '.join(samples)}"
                raise AnnotationError(path, index, "id", reason)
            found[owner[prediction.sample_id]].append(prediction)
    return found
