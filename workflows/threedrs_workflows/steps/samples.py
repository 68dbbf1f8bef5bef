"""Step "samples": annotations of all benchmarks to training and evaluation samples.

Training and prediction read these files instead of the annotations, so that a change in a scorer
leaves finished training valid.
"""

from __future__ import annotations

from threedrs_components.benchmarks import BenchmarksConfig, open_benchmarks
from threedrs_components.benchmarks.sample_files import write_samples
from threedrs_platform.records import Metric
from threedrs_platform.steps import StepTask


def run(task: StepTask) -> None:
    """Params: benchmarks. Inputs: scenes. Writes train.jsonl and evaluation.jsonl."""
    config = BenchmarksConfig.model_validate(task.params["benchmarks"])
    benchmarks = open_benchmarks(config, task.inputs["scenes"])
    for name, split in (("train", "train"), ("evaluation", config.split)):
        samples = [
            sample for benchmark in benchmarks.values() for sample in benchmark.samples(split)
        ]
        count = write_samples(task.out / f"{name}.jsonl", samples)
        task.metric(Metric(f"samples/{name}", count, n=count, unit="samples"))
