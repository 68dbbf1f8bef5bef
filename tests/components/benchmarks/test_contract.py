"""What every registered benchmark keeps to, told by a fixture of its own: `fixtures/<kind>/`.

A newcomer is found by itself. Its fixture is what its loader finds in a folder: annotations of the
splits "train" and "val" with at least two records each, and boxes of the scenes where it needs any.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from threedrs_components.benchmarks.annotation_files import AnnotationFolder
from threedrs_components.benchmarks.benchmark import Benchmark
from threedrs_components.benchmarks.config import BenchmarksConfig, PromptConfig
from threedrs_components.benchmarks.registry import BENCHMARKS
from threedrs_components.benchmarks.sample_files import read_samples, write_samples
from threedrs_components.benchmarks.scorer import Scorer
from threedrs_components.benchmarks.wording import Wording
from threedrs_components.testing.prompts import bare_prompts
from threedrs_platform.errors import AnnotationError
from threedrs_platform.identity.source_code import CodeIndex
from threedrs_platform.records import Metric, Prediction, Sample

FIXTURES = Path(__file__).parent / "fixtures"
ROOM = "threedrs_components.benchmarks"
CONFIG = BenchmarksConfig(
    prompts=bare_prompts().model_copy(
        update={"train_preamble": "Learn: ", "evaluation_preamble": "Asked: "}
    )
)


@pytest.fixture(params=list(BENCHMARKS))
def benchmark(request: pytest.FixtureRequest) -> Benchmark:
    return BENCHMARKS[request.param]()


@pytest.fixture
def folder(benchmark: Benchmark, tmp_path: Path) -> AnnotationFolder:
    own = FIXTURES / benchmark.kind
    assert own.is_dir(), (
        f"{benchmark.kind} has no fixture: put annotations of two splits into {own}"
    )
    shutil.copytree(own, tmp_path, dirs_exist_ok=True)
    return AnnotationFolder(tmp_path, oracle=True)


def load(benchmark: Benchmark, folder: AnnotationFolder, split: str = "val") -> list[Sample]:
    return CONFIG.loader(benchmark.kind).samples(folder, CONFIG.wording(), split)


def perfect(sample: Sample) -> Prediction:
    if sample.kind == "ground":
        return Prediction(sample.sample_id, boxes=sample.target_boxes)
    return Prediction(sample.sample_id, text=sample.answers[0])


def overall(scorer: Scorer, samples: list[Sample], answered: list[Sample]) -> dict[str, Metric]:
    return dict(scorer.evaluate(samples, [perfect(sample) for sample in answered]).metrics)


def test_samples_are_the_same_whenever_they_are_loaded(
    benchmark: Benchmark, folder: AnnotationFolder, tmp_path: Path
) -> None:
    for split in ("train", "val"):
        samples = load(benchmark, folder, split)
        assert len({sample.sample_id for sample in samples}) == len(samples) > 1
        assert all(sample.benchmark == benchmark.kind for sample in samples)
        assert load(benchmark, folder, split) == samples
        write_samples(tmp_path / "samples.jsonl", samples)
        assert read_samples(tmp_path / "samples.jsonl") == samples


def test_prompts_and_training_targets_are_there(
    benchmark: Benchmark, folder: AnnotationFolder
) -> None:
    for split, preamble in (("train", "Learn: "), ("val", "Asked: ")):
        for sample in load(benchmark, folder, split):
            assert sample.prompt.startswith(preamble) and len(sample.prompt) > len(preamble)
            assert "{" not in sample.prompt
            assert sample.kind == "ground" or sample.answers[0]
            assert len(sample.target_ids) == len(sample.target_boxes)
            assert not sample.misses_its_box
    asked = CONFIG.loader(benchmark.kind).samples(
        folder, CONFIG.wording(), "train", as_evaluation=True
    )
    assert all(sample.prompt.startswith("Asked: ") for sample in asked)


def test_its_own_templates_are_valid(benchmark: Benchmark) -> None:
    fields = {name: field.default for name, field in benchmark.loader.model_fields.items()}
    benchmark.loader.model_validate(fields)
    known = {benchmark.kind + name.removeprefix("prompt") for name in fields if name != "kind"}
    assert known and known <= PromptConfig.model_fields.keys() - Wording.model_fields.keys()


def test_perfect_predictions_have_full_marks_by_every_protocol(
    benchmark: Benchmark, folder: AnnotationFolder
) -> None:
    samples = load(benchmark, folder)
    assert not any(benchmark.misfit(perfect(sample)) for sample in samples)
    for protocol, summary in benchmark.protocols.items():
        metrics = overall(benchmark.scorer(protocol=protocol), samples, samples)
        assert summary and max(metric.value for metric in metrics.values()) >= 100, protocol


def test_a_missing_prediction_is_wrong(benchmark: Benchmark, folder: AnnotationFolder) -> None:
    scorer, samples = CONFIG.scorer(benchmark.kind), load(benchmark, folder)
    all_right = overall(scorer, samples, samples)
    full = {name for name, metric in all_right.items() if metric.value >= 100}
    for answered in (samples[1:], []):
        evaluation = scorer.evaluate(samples, [perfect(sample) for sample in answered])
        assert evaluation.missing == len(samples) - len(answered)
        worse = {name for name in full if evaluation.metrics[name].value < all_right[name].value}
        assert worse == full
        assert all(evaluation.metrics[name].n == all_right[name].n for name in full)
        assert evaluation.warnings


def test_predictions_of_nothing_known_are_refused(
    benchmark: Benchmark, folder: AnnotationFolder
) -> None:
    with pytest.raises(AnnotationError, match="unknown id 'nobody'"):
        CONFIG.scorer(benchmark.kind).evaluate(
            load(benchmark, folder), [Prediction("nobody", text="x")]
        )


def test_metrics_say_what_is_needed_to_trust_them(
    benchmark: Benchmark, folder: AnnotationFolder
) -> None:
    samples = load(benchmark, folder)
    evaluation = CONFIG.scorer(benchmark.kind).evaluate(samples, [*map(perfect, samples)])
    metrics, scores = evaluation.flat()
    assert len({metric.name for metric in metrics}) == len(metrics)
    for metric in metrics:
        assert metric.name.startswith(f"{benchmark.kind}/") and metric.n > 0 and metric.unit
        for guess in (metric.chance, metric.majority):
            assert guess is None or guess >= 0
        assert metric.ci95 is None or metric.ci95[0] <= metric.ci95[1]
    assert {row.sample_id for row in scores} == {sample.sample_id for sample in samples}
    json.dumps(evaluation.as_json(), allow_nan=False)


def test_a_faulty_record_is_named_with_its_file_and_field(
    benchmark: Benchmark, folder: AnnotationFolder
) -> None:
    named = 0
    for path in benchmark.loader().locate(folder, "val").records:
        right = path.read_text()
        for key, text in _spoiled(path, right):
            path.write_text(text)
            try:
                load(benchmark, folder)
            except AnnotationError as error:
                assert (error.file, str(error.record)) == (str(path), "1"), error
                assert error.field.split(".")[0] == key
                named += 1
        path.write_text(right)
    assert named > 0


def _spoiled(path: Path, text: str) -> Iterator[tuple[str, str]]:
    """Each key of the second record, and the file with nonsense in its place."""
    lines = path.suffix == ".jsonl"
    values: Any = [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)
    lists = [values] if isinstance(values, list) else [v for v in values.values() if len(v) > 1]
    for records in lists:
        for key, right in list(records[1].items()):
            records[1][key] = {"nonsense": True}
            yield key, "\n".join(map(json.dumps, values)) if lines else json.dumps(values)
            records[1][key] = right


def test_a_step_reaches_the_half_it_needs_and_no_other_benchmark(benchmark: Benchmark) -> None:
    loader, scorer = benchmark.loader.__module__, benchmark.scorer.__module__
    others = {each.scorer.__module__ for each in BENCHMARKS.values()} - {scorer}
    others |= {f"{ROOM}.registry", f"{ROOM}.config"}
    code = CodeIndex()
    assert not others & set(code.modules(loader) + code.modules(scorer))
    if loader != scorer:
        reached = code.modules(loader)
        assert not {scorer, f"{ROOM}.tally", f"{ROOM}.benchmark"} & set(reached)
        metrics = {name.rpartition(".")[2] for name in reached if "components.metrics." in name}
        assert metrics <= {"iou"}, "prompt boxes of Scan2Cap are chosen by overlap"


@pytest.mark.parametrize("module", ["sample_files", "prediction_files", "asking"])
def test_prediction_and_training_reach_no_benchmark(module: str) -> None:
    reached = {name for name in CodeIndex().modules(f"{ROOM}.{module}") if name.startswith(ROOM)}
    assert reached <= {ROOM, f"{ROOM}.{module}", f"{ROOM}.annotations"}
