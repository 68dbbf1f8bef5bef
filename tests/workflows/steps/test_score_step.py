"""The score step over a written micro world."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from threedrs_components.benchmarks.config import BenchmarksConfig
from threedrs_components.benchmarks.prediction_files import write_predictions
from threedrs_components.benchmarks.sample_files import read_samples, write_samples
from threedrs_components.metrics.meteor.data import ABSENT
from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.write import write_world
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Metric, Prediction, Sample, SampleScore
from threedrs_platform.steps import StepTask
from threedrs_workflows.plan import benchmark_params
from threedrs_workflows.plan.benchmark_params import samples_params, score_params
from threedrs_workflows.steps import samples, score
from threedrs_workflows.steps.params import StepParams

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
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the step "samples" writes of a micro world."""
    root = tmp_path_factory.mktemp("world")
    config = MicroWorldConfig(train=2, text=1, val=4, num_frames=2, image_size=32)
    write_world(config, root / "scenes")
    run(samples, samples_params(CONFIG), {"scenes": root / "scenes"}, root)
    return root / "out"


def run(step: ModuleType, params: StepParams, inputs: dict[str, Path], folder: Path) -> Reports:
    reports, out, scratch = Reports(), folder / "out", folder / "scratch"
    out.mkdir()
    scratch.mkdir()
    step.run(StepTask(params.identity(), inputs, out, scratch, reports, params.remainder()))
    return reports


def perfect(sample: Sample) -> Prediction:
    if sample.kind == "ground":
        return Prediction(sample.sample_id, boxes=sample.target_boxes)
    empty = sample.benchmark == "scan2cap" and sample.box_input is None
    return Prediction(sample.sample_id, text="" if empty else sample.answers[0])


def scored(asked: Path, folder: Path, predictions: Iterable[Prediction]) -> Reports:
    (folder / "predictions").mkdir()
    write_predictions(folder / "predictions" / "all.jsonl", predictions)
    inputs = {"samples": asked, "predictions": folder / "predictions"}
    return run(score, score_params(CONFIG), inputs, folder)


def all_samples(asked: Path) -> list[Sample]:
    return read_samples(asked / "evaluation.jsonl")


def test_right_answers_score_full_marks(asked: Path, tmp_path: Path) -> None:
    reports = scored(asked, tmp_path, map(perfect, all_samples(asked)))
    metrics = reports.metrics
    assert metrics["scanrefer/acc@0.5"].value == metrics["multi3drefer/f1@0.5"].value == 100.0
    assert metrics["scanrefer/acc@0.5/position"].value == 100.0
    assert metrics["scanqa/em@1"].value == 100.0
    located = sum(s.box_input is not None for s in all_samples(asked) if s.benchmark == "scan2cap")
    captions = metrics["scan2cap/direction@0.5"]
    assert captions.value == pytest.approx(100 * located / captions.n)
    assert metrics["scanqa/missing"].value == 0 and not reports.warnings
    assert {row.metric for row in reports.scores} >= {"scanqa/em@1", "scan2cap/cider@0.5"}
    saved = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {row["name"] for row in saved} == set(metrics)


def test_missing_predictions_are_counted_and_announced(asked: Path, tmp_path: Path) -> None:
    questions = [sample for sample in all_samples(asked) if sample.benchmark == "scanqa"]
    reports = scored(asked, tmp_path, [perfect(questions[0])])
    assert reports.metrics["scanqa/missing"].value == len(questions) - 1
    assert reports.metrics["scanqa/em@1"].value == pytest.approx(100 / len(questions))
    assert any(text.startswith("scanrefer: ") for text in reports.warnings)


def test_a_benchmark_of_which_no_scene_is_here_has_no_score(asked: Path, tmp_path: Path) -> None:
    kept = [sample for sample in all_samples(asked) if sample.benchmark != "scanqa"]
    write_samples((tmp_path / "evaluation.jsonl"), kept)
    reports = scored(tmp_path, tmp_path, map(perfect, kept))
    assert reports.warnings == ["scanqa has no score: none of its scenes is here"]
    assert not any(name.startswith("scanqa/") for name in reports.metrics)


def test_answers_that_cannot_be_read_are_warnings(asked: Path, tmp_path: Path) -> None:
    one = next(sample for sample in all_samples(asked) if sample.benchmark == "scanqa")
    reports = scored(asked, tmp_path, [Prediction(one.sample_id, text="red\n")])
    assert any(
        text.startswith("scanqa: 1 of 1 texts begin or end with a line break")
        for text in reports.warnings
    )


def test_a_prediction_of_nothing_known_is_refused(asked: Path, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="'nobody' is no sample of scanrefer, multi3drefer"):
        scored(asked, tmp_path, [Prediction("nobody", text="x")])


def test_an_empty_folder_of_predictions_is_refused(asked: Path, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="holds no"):
        score.predictions_by_benchmark(tmp_path, {})


def test_scoring_says_that_meteor_is_left_out(
    asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark_params, "installed_versions", lambda: {"pycocoevalcap": ABSENT})
    config = CONFIG.model_copy(update={"meteor": "if_installed"})
    (tmp_path / "given").mkdir()
    samples = read_samples(asked / "evaluation.jsonl")
    one = next(sample for sample in samples if sample.kind == "text")
    write_predictions(tmp_path / "given" / "some.jsonl", [Prediction(one.sample_id, text="red")])
    inputs = {"samples": asked, "predictions": tmp_path / "given"}
    reports = run(score, score_params(config), inputs, tmp_path)
    assert any(
        warning.startswith("METEOR is left out: no pycocoevalcap; pip install")
        for warning in reports.warnings
    )
    assert not any("meteor" in name for name in reports.metrics)
