"""The score step over a written micro world."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from threedrs_components.benchmarks.prediction_files import write_predictions
from threedrs_components.benchmarks.registry import BenchmarksConfig, open_benchmarks
from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.write import write_world
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Metric, Prediction, Sample, SampleScore
from threedrs_platform.steps import StepTask
from threedrs_workflows.steps import score

CONFIG = BenchmarksConfig(names=("scanrefer", "multi3drefer", "scan2cap", "scanqa"))


@dataclass
class Reports:
    """A recorder that keeps what scoring reports."""

    metrics: dict[str, Metric] = field(default_factory=dict)
    scores: list[SampleScore] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def progress(self, done: int, total: int, note: str) -> None:
        assert 0 <= done <= total

    def metric(self, metric: Metric) -> None:
        assert metric.name not in self.metrics
        self.metrics[metric.name] = metric

    def sample_scores(self, scores: Iterable[SampleScore]) -> None:
        self.scores += scores

    def curve(self, step: int, values: Mapping[str, float]) -> None:
        raise AssertionError("scoring has no curves")

    def warn(self, message: str) -> None:
        self.warnings.append(message)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    write_world(MicroWorldConfig(train=2, text=1, val=4, num_frames=2, image_size=32), root)
    return root


def perfect(sample: Sample) -> Prediction:
    if sample.kind == "ground":
        return Prediction(sample.sample_id, boxes=sample.target_boxes)
    empty = sample.benchmark == "scan2cap" and sample.box_input is None
    return Prediction(sample.sample_id, text="" if empty else sample.answers[0])


def scored(world: Path, folder: Path, predictions: Iterable[Prediction]) -> Reports:
    for name in ("predictions", "out", "scratch"):
        (folder / name).mkdir()
    write_predictions(folder / "predictions" / "all.jsonl", predictions)
    reports = Reports()
    inputs = {"scenes": world, "predictions": folder / "predictions"}
    params = {"benchmarks": CONFIG.canonical()}
    score.run(StepTask(params, inputs, folder / "out", folder / "scratch", reports))
    return reports


def all_samples(world: Path) -> list[Sample]:
    opened = open_benchmarks(CONFIG, world)
    return [sample for item in opened.values() for sample in item.samples("val")]


def test_right_answers_score_full_marks(world: Path, tmp_path: Path) -> None:
    reports = scored(world, tmp_path, map(perfect, all_samples(world)))
    metrics = reports.metrics
    assert metrics["scanrefer/acc@0.5"].value == metrics["multi3drefer/f1@0.5"].value == 100.0
    assert metrics["scanrefer/acc@0.5/position"].value == 100.0
    assert metrics["scanqa/em@1"].value == 100.0
    located = sum(s.box_input is not None for s in all_samples(world) if s.benchmark == "scan2cap")
    captions = metrics["scan2cap/direction@0.5"]
    assert captions.value == pytest.approx(100 * located / captions.n)
    assert metrics["scanqa/missing"].value == 0 and not reports.warnings
    assert {row.metric for row in reports.scores} >= {"scanqa/em@1", "scan2cap/cider@0.5"}
    saved = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {row["name"] for row in saved} == set(metrics)


def test_missing_predictions_are_counted_and_announced(world: Path, tmp_path: Path) -> None:
    samples = all_samples(world)
    questions = [sample for sample in samples if sample.benchmark == "scanqa"]
    reports = scored(world, tmp_path, [perfect(questions[0])])
    assert reports.metrics["scanqa/missing"].value == len(questions) - 1
    assert reports.metrics["scanqa/em@1"].value == pytest.approx(100 / len(questions))
    assert any(text.startswith("scanrefer: ") for text in reports.warnings)


def test_a_prediction_of_nothing_known_is_refused(world: Path, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="'nobody' is no sample of scanrefer, multi3drefer"):
        scored(world, tmp_path, [Prediction("nobody", text="x")])


def test_an_empty_folder_of_predictions_is_refused(world: Path, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="holds no"):
        score.predictions_by_benchmark(tmp_path, {})
