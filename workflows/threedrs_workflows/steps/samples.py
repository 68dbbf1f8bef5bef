"""Step "samples": annotations of all benchmarks to training and evaluation samples.

Training and prediction read these files instead of the annotations, so that a change in a scorer
leaves finished training valid.
"""

from __future__ import annotations

import json

from threedrs_components.benchmarks.registry import open_benchmarks
from threedrs_components.benchmarks.sample_files import HELD_OUT_FILE, write_samples
from threedrs_platform.records import Metric
from threedrs_platform.steps import StepTask
from threedrs_workflows.steps.evaluation_samples import evaluated_samples
from threedrs_workflows.steps.params.samples import SamplesParams


def run(task: StepTask) -> None:
    """Inputs: scenes. Writes train.jsonl and evaluation.jsonl."""
    params = SamplesParams.of(task)
    config = params.benchmarks
    trained = open_benchmarks(config, task.inputs["scenes"], config.trained())
    benchmarks = open_benchmarks(config, task.inputs["scenes"])
    held_out = params.held_out.scenes(task.inputs["scenes"]) if params.held_out else frozenset()
    if held_out:
        (task.out / HELD_OUT_FILE).write_text(json.dumps(sorted(held_out)))
    evaluated = evaluated_samples(benchmarks, config, held_out)
    chosen = {
        "train": [
            sample
            for benchmark in trained.values()
            for sample in benchmark.samples("train")
            if sample.scene_id not in held_out
        ],
        "evaluation": [sample for samples in evaluated.values() for sample in samples],
    }
    for name, samples in chosen.items():
        count = write_samples(task.out / f"{name}.jsonl", samples)
        task.metric(Metric(f"samples/{name}", count, n=count, unit="samples"))
