"""Flags of the verbs that export questions: of a run's cell, or of annotations and scenes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from threedrs_platform.database.results import Results
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.workspace import find_workspace
from threedrs_workflows.cli.output import say
from threedrs_workflows.cli.run_cells import cells_called

if TYPE_CHECKING:
    from threedrs_workflows.folders.questions import Part, Questions


def add_question_arguments(parser: argparse.ArgumentParser, split: str) -> None:
    """--out, and where questions and frames come from.

    Args:
        parser: gets the flags.
        split: of annotations, by default.
    """
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder")
    run = parser.add_argument_group("of a run: its questions as its cells ask them")
    run.add_argument("--run", metavar="RUN", help="last is the newest; default with --cell")
    run.add_argument("--cell", metavar="CELL", help="an id, name or label; default: the first")
    files = parser.add_argument_group("or of files")
    files.add_argument(
        "--prepared", type=Path, metavar="DIR", help="scenes that `workflows prepare` left"
    )
    files.add_argument(
        "--annotations",
        type=Path,
        metavar="DIR",
        help="folder with annotations/, and boxes and proposals where a benchmark needs any",
    )
    files.add_argument("--split", default=split, help="of the annotations")
    parser.add_argument(
        "--benchmarks", nargs="+", metavar="NAME", help="only these; of files: which"
    )
    parser.add_argument(
        "--missing-scenes",
        choices=("refuse", "leave_out"),
        default="refuse",
        help="what questions on scenes do that are not prepared",
    )


def questions_of(args: argparse.Namespace, part: Part) -> Questions:
    """The questions that these flags name.

    Raises:
        ConfigError: they name neither a run nor files, or both, or what is not there.
    """
    # Brings torch, which --help must not wait for.
    from threedrs_workflows.folders.questions import of_cell, of_files

    by_files = args.prepared is not None or args.annotations is not None
    if by_files == (args.run is not None or args.cell is not None):
        reason = "name either a run (--run, --cell) or files (--prepared and --annotations)"
        raise ConfigError([Fault(reason)])
    if not by_files:
        with find_workspace(args.workspace, args.db, with_runs=True) as workspace:
            results = Results(workspace.database)
            run = results.run_results(results.find_run(args.run).run_id)
            cell = cells_called(run, args.cell)[0] if args.cell else run.cells[0]
            found = of_cell(workspace, cell, part, args.benchmarks)
    elif args.prepared is None or args.annotations is None or not args.benchmarks:
        reason = "files are --prepared, --annotations and --benchmarks, all three"
        raise ConfigError([Fault(reason)])
    else:
        found = of_files(args.annotations, args.prepared, args.benchmarks, args.split)
    kept, left_out = found.with_scenes(leave_out=args.missing_scenes == "leave_out")
    if left_out:
        say(args, f"left out: {left_out} questions on scenes that are not prepared")
    return kept
