"""Score predictions made anywhere: files or values in, an evaluation out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from threedrs_components.benchmarks import benchmark_kind
from threedrs_components.benchmarks.annotation_sources import find_annotations
from threedrs_components.benchmarks.kinds import BenchmarkKind
from threedrs_components.benchmarks.prediction_formats import PredictionFile, read_prediction_file
from threedrs_components.benchmarks.prompts import PromptConfig
from threedrs_components.benchmarks.tally import Evaluation
from threedrs_components.benchmarks.text_scores import TEXT_METRICS
from threedrs_components.metrics.meteor.data import installed_data
from threedrs_platform.errors import AnnotationError, ConfigError, DataError, Fault
from threedrs_platform.records import Prediction, Sample
from threedrs_platform.suggestions import did_you_mean

PathOrPaths = str | Path | Sequence[str | Path]


def score(
    benchmark: str,
    *,
    predictions: str | Path | Sequence[Prediction],
    annotations: PathOrPaths | Sequence[Sample] | None = None,
    protocol: str | None = None,
    label_map: str | Path | None = None,
    format_name: str | None = None,
    split: str = "val",
) -> Evaluation:
    """Score predictions by a protocol of the field.

    Args:
        benchmark: scanrefer, multi3drefer, scan2cap, scanqa, sqa3d or vsibench.
        predictions: a file in one of the known formats, or values.
        annotations: annotation files or a folder of them, or values; may be left out where the
            prediction format carries its own truth.
        protocol: the benchmark's default if not given.
        label_map: `scannetv2-labels.combined.tsv`; decides unique / multiple in ScanRefer.
        format_name: of the predictions; told from their shape if not given.
        split: which split to look for in a folder of annotations.

    Raises:
        ConfigError: unknown benchmark, protocol or format.
        AnnotationError: names file, record and field of what is wrong.
    """
    kind = benchmark_kind(benchmark)
    chosen = _protocol(kind, protocol)
    found = _predictions(predictions, benchmark, format_name)
    samples = _samples(kind, annotations, found, label_map, split)
    if found.tags:
        samples = [_tagged(sample, found.tags) for sample in samples]
    given = _renamed(found, samples) if found.samples is not None else found.predictions
    metrics, warnings = _available_metrics()
    evaluation = kind.evaluate(samples, given, chosen, metrics)
    used = warnings if any("bleu" in name for name in evaluation.metrics) else ()
    extra = (*found.warnings, *used) if annotations is None else used
    return replace(evaluation, warnings=(*evaluation.warnings, *extra))


def _protocol(kind: BenchmarkKind, name: str | None) -> str:
    if name is not None and name not in kind.protocols:
        hint = did_you_mean(name, kind.protocols)
        raise ConfigError([Fault(f"{kind.name} has no protocol {name!r}{hint}")])
    return name or kind.default_protocol


def _predictions(
    predictions: str | Path | Sequence[Prediction], benchmark: str, format_name: str | None
) -> PredictionFile:
    if isinstance(predictions, (str, Path)):
        return read_prediction_file(Path(predictions), benchmark, format_name)
    return PredictionFile("values", list(predictions))


def _samples(
    kind: BenchmarkKind,
    annotations: PathOrPaths | Sequence[Sample] | None,
    found: PredictionFile,
    label_map: str | Path | None,
    split: str,
) -> list[Sample]:
    if annotations is None:
        if found.samples is None:
            reason = f"predictions in format {found.format} need annotations; give --annotations"
            raise ConfigError([Fault(reason)])
        return found.samples
    paths = [annotations] if isinstance(annotations, (str, Path)) else list(annotations)
    values = [item for item in paths if isinstance(item, Sample)]
    if values:
        return values
    files = [Path(item) for item in paths if isinstance(item, (str, Path))]
    if not files:
        raise ConfigError([Fault("annotations: the list is empty; name a file or a folder")])
    sources = find_annotations(kind, files, Path(label_map) if label_map else None, split)
    return kind.samples(sources, PromptConfig(), split)


def _tagged(sample: Sample, tags: Mapping[str, Mapping[str, str]]) -> Sample:
    """The sample with what the predictions say about it, unless the annotations say it."""
    return replace(sample, tags={**tags.get(sample.sample_id, {}), **sample.tags})


def _renamed(found: PredictionFile, samples: Sequence[Sample]) -> list[Prediction]:
    """3DRS numbers the answers of a question: take `scanqa_<question>_<k>` for the question."""
    known = {sample.sample_id for sample in samples}
    renamed = []
    for prediction in found.predictions:
        name = prediction.sample_id
        whole = name.rpartition("_")[0]
        renamed.append(
            replace(prediction, sample_id=whole)
            if name not in known and whole in known
            else prediction
        )
    return renamed


def _available_metrics() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """All text metrics; without the `eval` extra METEOR is left out, which is said."""
    try:
        installed_data()
    except DataError as error:
        rest = tuple(name for name in TEXT_METRICS if name != "meteor")
        return rest, (f"meteor is left out: {error}",)
    return TEXT_METRICS, ()


__all__ = ["AnnotationError", "Evaluation", "score"]
