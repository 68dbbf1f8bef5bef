"""Score predictions made anywhere: files or values in, an evaluation out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

from threedrs_components.benchmarks.annotation_sources import find_annotations
from threedrs_components.benchmarks.benchmark import Benchmark
from threedrs_components.benchmarks.evaluator_format import PredictionFile
from threedrs_components.benchmarks.prediction_files import check_predictions
from threedrs_components.benchmarks.prediction_formats import read_prediction_file
from threedrs_components.benchmarks.registry import benchmark_named
from threedrs_components.benchmarks.scorer import TextMetric
from threedrs_components.benchmarks.tally import Evaluation
from threedrs_components.benchmarks.text_scores import TEXT_METRICS
from threedrs_components.benchmarks.threedrs_lines import numbered_question
from threedrs_components.benchmarks.wording import Wording
from threedrs_components.metrics.meteor.data import installed_data
from threedrs_components.metrics.relative_accuracy import as_number
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.errors import AnnotationError, ConfigError, DataError, Fault
from threedrs_platform.records import Prediction, Sample

OnePath = str | PathLike[str]
PathOrPaths = OnePath | Sequence[OnePath]


def score(
    benchmark: str,
    *,
    predictions: OnePath | Sequence[Prediction],
    annotations: PathOrPaths | Sequence[Sample] | None = None,
    protocol: str | None = None,
    label_map: OnePath | None = None,
    format_name: str | None = None,
    split: str = "val",
) -> Evaluation:
    """Score predictions by a protocol of the field.

    Args:
        benchmark: its name in the registry.
        predictions: a file in one of the known formats, or values.
        annotations: annotation files or a folder of them, or values; may be left out where the
            prediction format carries its own truth.
        protocol: the benchmark's default if not given.
        label_map: `scannetv2-labels.combined.tsv`; decides unique / multiple where ScanRefer's
            annotation files do not say it.
        format_name: of the predictions; told from their shape if not given.
        split: which split to look for in a folder of annotations.

    Raises:
        ConfigError: unknown benchmark, protocol or format, or a label map that decides nothing.
        AnnotationError: names file, record and field of what is wrong.
    """
    kind = benchmark_named(benchmark)
    chosen = _protocol(kind, protocol)
    if label_map is not None:
        _refuse_idle_label_map(kind, annotations)
    found = _predictions(predictions, kind, format_name)
    samples = _samples(kind, annotations, found, label_map, split)
    for index, sample in enumerate(samples):
        if unfit := kind.unfit(sample):
            raise _naming_files(
                AnnotationError("annotations", index, *unfit), predictions, annotations
            )
    if found.tags:
        samples = [_tagged(sample, found.tags) for sample in samples]
    _refuse_other_questions(found, samples, predictions)
    given = _renamed(found, samples) if found.samples is not None else found.predictions
    metrics, warnings = _available_metrics()
    try:
        scorer = kind.scorer(protocol=chosen, text_metrics=metrics)
        evaluate = scorer.evaluate_rows if found.by_rows else scorer.evaluate
        evaluation = evaluate(samples, given)
    except AnnotationError as error:
        raise _naming_files(error, predictions, annotations) from error
    used = warnings if any("bleu" in name for name in evaluation.metrics) else ()
    extra = (*found.warnings, *used) if annotations is None else used
    typed = _type_warnings(kind, samples)
    return replace(
        evaluation,
        warnings=(*evaluation.warnings, *typed, *extra),
        unread=(*evaluation.unread, *found.unread),
    )


def _protocol(kind: Benchmark, name: str | None) -> str:
    if name is not None and name not in kind.protocols:
        hint = did_you_mean(name, kind.protocols)
        raise ConfigError([Fault(f"{kind.kind} has no protocol {name!r}{hint}")])
    return name or kind.default_protocol


def _refuse_idle_label_map(
    kind: Benchmark, annotations: PathOrPaths | Sequence[Sample] | None
) -> None:
    if not kind.uses_label_map:
        raise ConfigError([Fault(f"{kind.kind} has no use for a label map; leave it out")])
    if annotations is None:
        reason = (
            "a label map decides nothing without annotations: the predictions say themselves what "
            "is unique; give --annotations, or leave it out"
        )
        raise ConfigError([Fault(reason)])


def _predictions(
    predictions: OnePath | Sequence[Prediction], kind: Benchmark, format_name: str | None
) -> PredictionFile:
    source: str | Path = "predictions"
    if isinstance(predictions, (str, PathLike)):
        source = Path(predictions)
        found = read_prediction_file(source, kind, format_name)
    else:
        found = PredictionFile("values", check_predictions(predictions))
    for index, item in enumerate(found.predictions):
        if misfit := kind.misfit(item):
            raise AnnotationError(source, index, *misfit)
    return found


def _samples(
    kind: Benchmark,
    annotations: PathOrPaths | Sequence[Sample] | None,
    found: PredictionFile,
    label_map: OnePath | None,
    split: str,
) -> list[Sample]:
    if annotations is None:
        if found.samples is None:
            reason = f"predictions in format {found.format} need annotations; give --annotations"
            raise ConfigError([Fault(reason)])
        return found.samples
    if files := _paths(annotations):
        sources = find_annotations(kind, files, Path(label_map) if label_map else None, split)
        return kind.loader().samples_of(sources, Wording(), split)
    values = [] if isinstance(annotations, PathLike) else annotations
    samples = [item for item in values if isinstance(item, Sample)]
    if not samples:
        raise ConfigError([Fault("annotations: the list is empty; name a file or a folder")])
    return samples


def _refuse_other_questions(
    found: PredictionFile,
    samples: Sequence[Sample],
    predictions: OnePath | Sequence[Prediction],
) -> None:
    """A file numbered by the rows of another version would be scored against other questions."""
    for sample in samples:
        names = (sample.sample_id, sample.tags.get("alias", ""))
        name = next((each for each in names if each in found.truths), None)
        if name is None:
            continue
        truth = found.truths[name]
        same_number = any(as_number(truth) == as_number(answer) for answer in sample.answers)
        if truth not in sample.answers and not same_number:
            reason = (
                f"is {truth!r} in the predictions and {sample.answers[0]!r} in the "
                "annotations; are they numbered by the same version of the data set?"
            )
            raise AnnotationError(_paths(predictions)[0], name, "ground_truth", reason)


def _type_warnings(kind: Benchmark, samples: Sequence[Sample]) -> list[str]:
    """Samples that appear in no row of the field's tables."""
    odd = Counter(item.question_type for item in samples if item.question_type not in kind.types)
    if not kind.types or not odd:
        return []
    known = ", ".join(kind.types)
    return [f"{odd.total()} of {len(samples)} samples have a type like {min(odd)!r}, not {known}"]


def _naming_files(
    error: AnnotationError,
    predictions: OnePath | Sequence[Prediction],
    annotations: PathOrPaths | Sequence[Sample] | None,
) -> AnnotationError:
    """The error with file names, where the evaluation knew only which of the two it was. Without
    annotations the truth stands in the predictions' file."""
    given = _paths(predictions)
    files = {
        "predictions": given,
        "annotations": given if annotations is None else _paths(annotations),
    }
    place = ", ".join(map(str, files.get(error.file, ()))) or error.file
    return AnnotationError(place, error.record, error.field, error.reason)


def _paths(given: OnePath | Sequence[object] | None) -> list[Path]:
    items = [given] if isinstance(given, (str, PathLike)) else given or ()
    return [Path(item) for item in items if isinstance(item, (str, PathLike))]


def _tagged(sample: Sample, tags: Mapping[str, Mapping[str, str]]) -> Sample:
    """The sample with what the predictions say about it, unless the annotations say it."""
    said = tags.get(sample.sample_id) or tags.get(sample.tags.get("alias", ""), {})
    return replace(sample, tags={**said, **sample.tags})


def _renamed(found: PredictionFile, samples: Sequence[Sample]) -> list[Prediction]:
    """3DRS numbers the answers of a question: `scanqa_<question>_<k>` is about the question, which
    its processed conversations call `scanqa_<question>_0`, whatever k is."""
    known = {sample.sample_id for sample in samples}
    renamed = []
    for prediction in found.predictions:
        name = prediction.sample_id
        whole = numbered_question(name)
        names = (name, whole, f"{whole}_0") if found.by_rows else (name, whole)
        own = next((each for each in names if each in known), name)
        renamed.append(replace(prediction, sample_id=own))
    return renamed


def _available_metrics() -> tuple[tuple[TextMetric, ...], tuple[str, ...]]:
    """All text metrics; without the `eval` extra METEOR is left out, which is said."""
    try:
        installed_data()
    except DataError as error:
        rest = tuple(name for name in TEXT_METRICS if name != "meteor")
        return rest, (f"meteor is left out: {error}",)
    return TEXT_METRICS, ()
