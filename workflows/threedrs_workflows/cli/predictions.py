"""`workflows predictions`: what a cell answered to a benchmark, as a file that can be scored."""

from __future__ import annotations

import argparse
import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from threedrs_components.benchmarks.registry import BENCHMARKS, benchmark_named
from threedrs_platform.storage import place_errors
from threedrs_workflows.cli.model_arguments import Named, add_cell_arguments, find_cell
from threedrs_workflows.cli.output import emit, say

if TYPE_CHECKING:
    from threedrs_workflows.models.exporting import CellPredictions

SUMMARY = "write what a cell answered to a benchmark, for `workflows score` or your own evaluator"

EXAMPLES = """\
examples:
  workflows predictions teacher=vggt --benchmark scanrefer --out scanrefer.jsonl
  workflows predictions teacher=vggt --run ablations --seed 2 --benchmark scanqa --out scanqa.jsonl

One JSON object a line, in the order of the annotations: {"id": ..., "text": ...}, or "boxes" (six
numbers each: centre and size, metres) with "scores" (one more, for "no object"). What is printed is
the call that gives the run's own numbers of it.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    parser.add_argument("cell", metavar="CELL", help="a cell's id, name or label")
    add_cell_arguments(parser)
    parser.add_argument("--benchmark", required=True, metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="JSON Lines")


def run(args: argparse.Namespace) -> int:
    """Write the file."""
    from threedrs_components.benchmarks.prediction_files import write_predictions
    from threedrs_workflows.models.exporting import predictions_of

    benchmark_named(args.benchmark)
    with ExitStack() as opened:
        named = Named(args.cell, args.run, args.seed, workspace=args.workspace, database=args.db)
        steps = find_cell(named, opened)
        found = predictions_of(steps, args.benchmark)
    with place_errors(f"write {args.out}"):
        args.out.parent.mkdir(parents=True, exist_ok=True)
        count = write_predictions(args.out, found.predictions)
    if found.left_out:
        say(args, f"{len(found.left_out)} scenes were left out of the cell's numbers")
    if found.held_out:
        say(args, "these are scenes held out of training: no split of the annotations names them")
    command = scoring(args.benchmark, args.out, found)
    content = {
        "cell": steps.title,
        "run": steps.run_id,
        "benchmark": args.benchmark,
        "file": str(args.out),
        "predictions": count,
        "samples": found.samples,
        "left_out": list(found.left_out),
        "score": command,
    }
    told = f"{steps.title}: {count} predictions for {found.samples} samples in {args.out}"
    emit(args, content, f"{told}\n{command}")
    return 0


def scoring(benchmark: str, file: Path, found: CellPredictions) -> str:
    """The call of `workflows score` that judges the file as the cell was judged."""
    words = ["workflows", "score", benchmark, "--predictions", str(file)]
    words += ["--annotations", *map(str, found.annotations), "--protocol", found.protocol]
    if found.label_map and BENCHMARKS[benchmark].uses_label_map:
        words += ["--label-map", found.label_map]
    return shlex.join([*words, "--split", found.split])
