"""Questions about a scene, and what cells answered: read from the runs' own JSON Lines files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from pydantic import TypeAdapter
from sqlalchemy import select

from threedrs_components.benchmarks.prediction_files import parse_predictions
from threedrs_components.benchmarks.registry import BENCHMARKS
from threedrs_components.benchmarks.scorer import Scorer
from threedrs_dashboards.viewer.cells import ViewedCell
from threedrs_dashboards.viewer.missing import Missing
from threedrs_platform.database.connection import Database
from threedrs_platform.database.schema import metrics, sample_scores
from threedrs_platform.errors import ArtifactError
from threedrs_platform.records import Prediction, Sample
from threedrs_platform.store.artifacts import ArtifactStore

Box = tuple[float, ...]

_SAMPLE = TypeAdapter(Sample)
_ID = re.compile(r'\{"id": ("(?:[^"\\]|\\.)*")')
SAMPLES, PREDICTIONS, SCORES = "samples", "predict", "score"
KEPT_SCENES = 64
LOOKED_AT = 8
"""Steps that are asked which metrics they have: cells of a run measure the same ones."""


@dataclass(frozen=True)
class Answer:
    """One cell's answer to one sample."""

    cell: ViewedCell
    prediction: Prediction | None
    """None if the cell has not answered."""
    boxes: tuple[Box, ...] = ()
    """The boxes that the prediction stands for under the benchmark's own rule of choice."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Metric -> this sample's score; metrics that do not apply to the sample are absent."""
    why_missing: str = ""

    @property
    def text(self) -> str:
        """The answer in words."""
        if self.prediction is None:
            return ""
        if self.prediction.text is not None:
            return self.prediction.text
        if self.prediction.texts:
            return " | ".join(self.prediction.texts)
        return "; ".join(box_text(box) for box in self.boxes) or "no object"


def box_text(box: Sequence[float]) -> str:
    """Centre and size in metres, for people."""
    numbers = [f"{value:.2f}" for value in box]
    return f"at ({', '.join(numbers[:3])}) m, {' x '.join(numbers[3:])} m"


def truth_text(sample: Sample) -> str:
    """What would be right, in words."""
    if sample.kind == "ground":
        return "; ".join(box_text(box) for box in sample.target_boxes) or "no object"
    return " | ".join(dict.fromkeys(sample.answers)) or "no reference"


def scene_samples(cell: ViewedCell, scene_id: str, store: ArtifactStore) -> tuple[Sample, ...]:
    """Evaluation samples of one scene in file order; none for a scene of another split."""
    return _scene_samples(cell.folder(SAMPLES, store) / "evaluation.jsonl", scene_id)


def find_sample(samples: Sequence[Sample], sample_id: str, scene_id: str) -> Sample | None:
    """The sample with this id; the first one if no id is given; None if there are none.

    Raises:
        Missing: no sample of the scene has this id.
    """
    if not sample_id:
        return samples[0] if samples else None
    for sample in samples:
        if sample.sample_id == sample_id:
            return sample
    some = f"; it has {len(samples)}, e.g. {samples[0].sample_id!r}" if samples else ""
    raise Missing(f"scene {scene_id} has no sample {sample_id!r}{some}")


def first_scored(
    samples: Sequence[Sample], cell: ViewedCell, scene_id: str, metric: str, database: Database
) -> str:
    """Id of the first sample of a scene that a metric scores; empty where there is none."""
    if not metric or SCORES not in cell.keys:
        return ""
    query = select(sample_scores.c.sample_id).where(
        sample_scores.c.step_key == cell.keys[SCORES],
        sample_scores.c.scene_id == scene_id,
        sample_scores.c.metric == metric,
        sample_scores.c.value.is_not(None),
    )
    with database.read() as connection:
        scored = {*connection.scalars(query)}
    return next((each.sample_id for each in samples if each.sample_id in scored), "")


def scored_metrics(database: Database, step_keys: Sequence[str]) -> dict[str, str]:
    """Metrics with per-sample scores among the first few steps -> their unit."""
    looked_at = sorted(set(step_keys))[:LOOKED_AT]
    names = (
        select(sample_scores.c.metric)
        .where(sample_scores.c.step_key.in_(looked_at))
        .distinct()
        .order_by(sample_scores.c.metric)
    )
    units = select(metrics.c.name, metrics.c.unit).where(metrics.c.step_key.in_(looked_at))
    with database.read() as connection:
        known = [row.metric for row in connection.execute(names)]
        unit = {row.name: row.unit for row in connection.execute(units)}
    return {name: unit.get(name, "") for name in known}


def answers(
    cells: Sequence[ViewedCell], sample: Sample, database: Database, store: ArtifactStore
) -> list[Answer]:
    """What each cell answered to one sample, in the order of the cells."""
    found = []
    for cell in cells:
        try:
            folder = cell.folder(PREDICTIONS, store)
            prediction = _predictions(folder, sample.scene_id, _ids(cell, sample, store)).get(
                sample.sample_id
            )
            why = "" if prediction else "no prediction for this sample"
        except (Missing, ArtifactError) as error:
            prediction, why = None, str(error)
        scores = _scores(database, cell.keys.get(SCORES), sample.sample_id)
        boxes = chosen(sample.benchmark, prediction) if prediction else ()
        found.append(Answer(cell, prediction, boxes, scores, why))
    return found


def chosen(benchmark: str, prediction: Prediction) -> tuple[Box, ...]:
    """Boxes that a prediction stands for, by the rule of its benchmark, if it is still known."""
    scorer = BENCHMARKS[benchmark].scorer if benchmark in BENCHMARKS else Scorer
    return scorer.chosen_boxes(prediction)


def _ids(cell: ViewedCell, sample: Sample, store: ArtifactStore) -> frozenset[str]:
    samples = scene_samples(cell, sample.scene_id, store)
    return frozenset(each.sample_id for each in samples) | {sample.sample_id}


@lru_cache(maxsize=KEPT_SCENES)
def _scene_samples(path: Path, scene_id: str) -> tuple[Sample, ...]:
    """Lines are searched before they are parsed: a large file costs a read, not a parse."""
    mark = f'"scene_id": {json.dumps(scene_id, ensure_ascii=False)}'
    parsed = (_SAMPLE.validate_json(line) for line in _lines(path) if mark in line)
    return tuple(sample for sample in parsed if sample.scene_id == scene_id)


@lru_cache(maxsize=KEPT_SCENES)
def _predictions(folder: Path, scene_id: str, ids: frozenset[str]) -> dict[str, Prediction]:
    values = [
        json.loads(line)
        for path in sorted(folder.glob("*.jsonl"))
        for line in _lines(path)
        if _line_id(line) in ids
    ]
    return {each.sample_id: each for each in parse_predictions(values, folder)} if values else {}


def _line_id(line: str) -> str:
    """Without parsing the boxes and scores behind it, where our own writer wrote the line."""
    match = _ID.match(line)
    return str(json.loads(match[1]) if match else json.loads(line).get("id"))


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as lines:
        yield from (line for line in lines if line.strip())


def _scores(database: Database, step_key: str | None, sample_id: str) -> dict[str, float]:
    if step_key is None:
        return {}
    query = (
        select(sample_scores.c.metric, sample_scores.c.value)
        .where(
            sample_scores.c.step_key == step_key,
            sample_scores.c.sample_id == sample_id,
            sample_scores.c.value.is_not(None),
        )
        .order_by(sample_scores.c.metric)
    )
    with database.read() as connection:
        return {row.metric: row.value for row in connection.execute(query)}
