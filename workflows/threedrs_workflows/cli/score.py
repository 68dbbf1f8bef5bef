"""`workflows score`: predictions made anywhere, scored as the field scores them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from threedrs_components.benchmarks.prediction_formats import FORMATS
from threedrs_components.benchmarks.registry import BENCHMARKS, benchmark_named
from threedrs_components.benchmarks.text_results import TEXT_FORMATS
from threedrs_workflows.cli.output import columns, emit, say

if TYPE_CHECKING:
    from threedrs_components.benchmarks.tally import Evaluation
    from threedrs_platform.records import Metric

SUMMARY = "score predictions made anywhere, as the field's own evaluators do"


def _protocol_lines() -> str:
    lines = ["protocols (the first of each is the default):"]
    for kind, benchmark in BENCHMARKS.items():
        for index, (name, summary) in enumerate(benchmark.protocols.items()):
            lines.append(f"  {kind if index == 0 else '':13} {name:11} {summary}")
    return "\n".join(lines)


_GENERAL = ("own", "3drs", *(each.name for each in TEXT_FORMATS))
_EVALUATORS = ", ".join(name for name in FORMATS if name not in _GENERAL)
EXAMPLES = f"""\
{_protocol_lines()}

prediction formats, told by their shape or named with --format:
  own        JSON Lines, one object per sample: {{"id": ..., "text": ...}}, or "boxes" (six numbers
             each: centre and size), or "boxes" and "scores" (one more, for "no object")
  3drs       result lines of 3DRS and Video-3D-LLM; carry the truth, --annotations may be left out
  {_EVALUATORS}      files of the field's own evaluators
  lmms-eval  sample logs with their documents (--log_samples)
  coco       [{{"image_id" or "question_id" or "id": ..., "caption" or "answer": ...}}]
  mapping    {{id: text}}

examples:
  workflows score scanrefer --predictions results/scanrefer.jsonl
  workflows score scanqa --annotations ScanQA_v1.0_val.json --predictions mine.jsonl --json
  workflows score sqa3d --annotations questions.json annotations.json --predictions mine.jsonl
  workflows score scanrefer --annotations ScanRefer_filtered_val.json boxes.json \\
      --label-map scannetv2-labels.combined.tsv --protocol official --predictions pred.json

All values are percent (CIDEr x 100), with 95 % bootstrap intervals over samples. --json adds, where
they are known, chance (a random guess) and majority (the best constant answer). A sample without
prediction counts as wrong unless the protocol leaves it out; both are said. METEOR needs the extra:
pip install -e '.[eval]'.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument("benchmark", metavar="BENCHMARK", help=", ".join(BENCHMARKS))
    parser.add_argument(
        "--predictions", type=_path, required=True, metavar="FILE", help="a file, or a folder"
    )
    parser.add_argument(
        "--annotations",
        type=_path,
        nargs="+",
        metavar="FILE",
        help="annotation files and maybe a file of boxes, or a folder with them",
    )
    parser.add_argument(
        "--protocol", metavar="NAME", help="see below; default: the first of the benchmark"
    )
    parser.add_argument(
        "--format", metavar="NAME", help=f"{', '.join(FORMATS)}; default: told by the file"
    )
    parser.add_argument("--label-map", type=_path, metavar="TSV", help="ScanNet's label table")
    parser.add_argument("--split", default="val", help="in a folder of annotations")


def _path(text: str) -> Path:
    """A named file; an empty name, an unset variable perhaps, would be the current folder."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the name is empty")
    return Path(text)


def run(args: argparse.Namespace) -> int:
    """Score, then print a table or one JSON object."""
    from threedrs_components.benchmarks.scoring import score

    benchmark_named(args.benchmark)
    evaluation = score(
        args.benchmark,
        predictions=args.predictions,
        annotations=args.annotations,
        protocol=args.protocol,
        label_map=args.label_map,
        format_name=args.format,
        split=args.split,
    )
    for warning in evaluation.warnings:
        say(args, f"warning: {warning}")
    for unread in evaluation.unread:
        say(args, f"not read: {unread}")
    emit(args, evaluation.as_json(), as_table(evaluation))
    return 0


def as_table(evaluation: Evaluation) -> str:
    """Metrics of the whole, then one block per metric with its types."""
    parts = [
        f"{evaluation.benchmark}, protocol {evaluation.protocol}: {evaluation.samples} samples, "
        f"{evaluation.missing} without prediction ({evaluation.missing_rule})",
        columns(_rows(evaluation.metrics.items())),
    ]
    if evaluation.per_type:
        parts += ["by type", columns(list(_type_rows(evaluation.per_type)))]
    return "\n".join(parts)


def _rows(metrics: Iterable[tuple[str, Metric]]) -> list[list[str]]:
    return [[name, *_cells(metric)] for name, metric in metrics]


def _type_rows(per_type: Mapping[str, Mapping[str, Metric]]) -> Iterable[list[str]]:
    for kind, metrics in per_type.items():
        for name, metric in metrics.items():
            yield [kind, name, *_cells(metric)]


def _cells(metric: Metric) -> list[str]:
    interval = "" if metric.ci95 is None else f"[{metric.ci95[0]:.2f}, {metric.ci95[1]:.2f}]"
    return [f"{metric.value:.2f}", interval, f"n {metric.n}"]
