"""Step "samples": annotations of all benchmarks to training and evaluation samples.

Training, prediction and scoring read these files instead of the annotations.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

from threedrs_components.benchmarks.annotation_files import AnnotationFolder
from threedrs_components.benchmarks.asking import MissingScenes
from threedrs_components.benchmarks.loader import Loader
from threedrs_components.benchmarks.sample_files import HELD_OUT_FILE, write_samples
from threedrs_components.scenes.splits import read_splits
from threedrs_platform.errors import DataError
from threedrs_platform.records import Metric, Sample
from threedrs_platform.steps import StepTask
from threedrs_workflows.steps.params.samples import SamplesParams

ANNOTATED = "train"
"""The split whose annotations training reads."""


def run(task: StepTask) -> None:
    """Inputs: scenes. Writes train.jsonl and evaluation.jsonl."""
    params, scenes = SamplesParams.of(task), task.inputs["scenes"]
    folder = params.places.folder(scenes, oracle=params.candidates == "ground_truth")
    held_out = params.held_out.scenes(scenes) if params.held_out else frozenset()
    if held_out:
        (task.out / HELD_OUT_FILE).write_text(json.dumps(sorted(held_out)))
    evaluated = list(_evaluated(params, folder, held_out))
    chosen: dict[str, Iterable[Sample]] = {
        "train": (
            sample
            for loader in params.trained
            for sample in loader.open(Loader).samples(folder, params.wording, ANNOTATED)
            if sample.scene_id not in held_out
        ),
        "evaluation": _askable(task, evaluated, read_splits(scenes), params.missing_scenes),
    }
    for name, samples in chosen.items():
        count = write_samples(task.out / f"{name}.jsonl", samples)
        task.metric(Metric(f"samples/{name}", count, n=count, unit="samples"))


def _evaluated(
    params: SamplesParams, folder: AnnotationFolder, held_out: frozenset[str]
) -> Iterator[Sample]:
    """Samples of a split of their own, or of the scenes that training holds out."""
    for each in params.evaluated:
        loader = each.loader.open(Loader)
        if not held_out:
            yield from loader.samples(folder, params.wording, each.split)
            continue
        for sample in loader.samples(folder, params.wording, ANNOTATED, as_evaluation=True):
            if sample.scene_id in held_out:
                yield _pointed_at_truth(sample)


def _askable(
    task: StepTask,
    samples: Sequence[Sample],
    splits: Mapping[str, Sequence[str]],
    missing: MissingScenes,
) -> Sequence[Sample]:
    """Samples whose scenes are there; how many are not, by benchmark and data set.

    Raises:
        DataError: some are not, and that is refused, or none is left.
    """
    present = frozenset(chain.from_iterable(splits.values()))
    absent = [sample for sample in samples if sample.scene_id not in present]
    if not absent:
        return samples
    counts = Counter(_origin(sample) for sample in absent)
    asked = Counter(_origin(sample) for sample in samples)
    told = ", ".join(f"{counts[name]} of {asked[name]} of {name}" for name in sorted(counts))
    if len(absent) == len(samples):
        raise DataError(f"no question is about a scene that is there: {told}; get these scenes")
    if missing == "refuse":
        raise DataError(
            f"questions on scenes that are not there: {told}, e.g. {absent[0].scene_id}; get these "
            "scenes, or set benchmarks.missing_scenes: leave_out to score the others alone"
        )
    task.warn(f"left out, for their scenes are not there: {told}")
    for name, count in sorted(counts.items()):
        task.metric(Metric(f"samples/{name}/left_out", count, n=asked[name], unit="samples"))
    return [sample for sample in samples if sample.scene_id in present]


def _origin(sample: Sample) -> str:
    """The benchmark, and the data set where a sample names one."""
    dataset = sample.tags.get("dataset")
    return f"{sample.benchmark}/{dataset}" if dataset else sample.benchmark


def _pointed_at_truth(sample: Sample) -> Sample:
    """Where no proposals lie near an object to be described, its own box is pointed at."""
    return replace(sample, box_input=sample.target_boxes[0]) if sample.misses_its_box else sample
