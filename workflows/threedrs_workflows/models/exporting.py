"""A cell's predictions as a file, for `workflows score` and for evaluators elsewhere."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from threedrs_components.benchmarks.loader import Loader
from threedrs_components.benchmarks.prediction_files import read_predictions
from threedrs_components.benchmarks.sample_files import LEFT_OUT_FILE, read_samples
from threedrs_components.benchmarks.scorer import Scorer
from threedrs_components.models.told.samples import Evaluated
from threedrs_platform.config.suggestions import nearest_and_all
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.records import Prediction
from threedrs_workflows.models.of_cell import CellSteps
from threedrs_workflows.steps.params.samples import SamplesParams
from threedrs_workflows.steps.params.score import ScoreParams


@dataclass(frozen=True)
class CellPredictions:
    """What a cell answered to one benchmark, and with what it is scored."""

    predictions: tuple[Prediction, ...]
    """In the order of the samples."""
    samples: int
    left_out: tuple[str, ...]
    """Scenes that nobody was asked about: the cell's numbers are without them."""
    annotations: tuple[Path, ...]
    """The folder that the samples were read from; its files, where boxes lie in another."""
    label_map: str | None
    split: str
    protocol: str
    held_out: bool
    """Whether these are scenes held out of training, not a split of the annotations."""


def predictions_of(steps: CellSteps, benchmark: str) -> CellPredictions:
    """The predictions of a cell for one benchmark.

    Raises:
        ConfigError: the cell was not evaluated on it, or has not been yet.
        ArtifactError: the store no longer holds them.
    """
    asked = steps.params("samples", SamplesParams)
    evaluated = {str(each.loader.settings.get("kind")): each for each in asked.evaluated}
    if benchmark not in evaluated:
        hint = nearest_and_all(benchmark, evaluated)
        raise ConfigError([Fault(f"{steps.title} was not evaluated on {benchmark!r}{hint}")])
    folder = steps.folder("predict")
    samples = [
        each
        for each in read_samples(steps.folder("samples") / "evaluation.jsonl")
        if each.benchmark == benchmark
    ]
    given = {
        each.sample_id: each
        for path in sorted(folder.glob("*.jsonl"))
        for each in read_predictions(path)
    }
    left_out = folder / LEFT_OUT_FILE
    judged = steps.params("score", ScoreParams).scorers
    scorer = next(each for each in judged if each.settings.get("kind") == benchmark)
    return CellPredictions(
        tuple(given[each.sample_id] for each in samples if each.sample_id in given),
        len(samples),
        tuple(json.loads(left_out.read_text())) if left_out.is_file() else (),
        _annotations(asked, evaluated[benchmark], steps.folder("scenes")),
        asked.places.label_map,
        evaluated[benchmark].split,
        scorer.open(Scorer).protocol,
        asked.held_out is not None,
    )


def _annotations(asked: SamplesParams, evaluated: Evaluated, scenes: Path) -> tuple[Path, ...]:
    """What `workflows score --annotations` is to be given."""
    boxes = asked.places.box_files()
    if not boxes:
        return (Path(asked.places.annotations or scenes),)
    folder = asked.places.folder(scenes, oracle=asked.candidates == "ground_truth")
    files = evaluated.loader.open(Loader).locate(folder, evaluated.split)
    return (*files.records, *map(Path, boxes))
