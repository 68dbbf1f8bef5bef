"""Step "score": a student's predictions against the annotations of a world.

Inputs: `scenes` (annotations, boxes, proposals), `predictions` (JSON Lines files).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from threedrs_components.benchmarks.prediction_files import read_predictions
from threedrs_components.benchmarks.registry import open_benchmarks
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Metric, Prediction, Sample
from threedrs_platform.steps import StepTask
from threedrs_workflows.steps.evaluation_samples import evaluated_samples
from threedrs_workflows.steps.params.score import ScoreParams


def run(task: StepTask) -> None:
    """Score every benchmark; missing predictions count as wrong and are reported as a metric."""
    params = ScoreParams.of(task)
    config = params.benchmarks
    benchmarks = open_benchmarks(config, task.inputs["scenes"])
    held_out = params.held_out.scenes(task.inputs["scenes"]) if params.held_out else frozenset()
    samples = evaluated_samples(benchmarks, config, held_out)
    predictions = predictions_by_benchmark(task.inputs["predictions"], samples)
    metrics: list[Metric] = []
    for done, (name, benchmark) in enumerate(benchmarks.items()):
        task.progress(done, len(benchmarks), name)
        found, scores = benchmark.score(samples[name], predictions[name])
        task.sample_scores(scores)
        metrics += found
    for metric in metrics:
        task.metric(metric)
    _warn_of_missing(task, metrics)
    table = [asdict(metric) for metric in metrics]
    (task.out / "metrics.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
    task.progress(len(benchmarks), len(benchmarks))


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


def _warn_of_missing(task: StepTask, metrics: Iterable[Metric]) -> None:
    for metric in metrics:
        if metric.name.endswith("/missing") and metric.value:
            benchmark = metric.name.split("/")[0]
            task.warn(
                f"{benchmark}: {metric.value:g} of {metric.n} samples have no prediction; "
                "they count as wrong"
            )
