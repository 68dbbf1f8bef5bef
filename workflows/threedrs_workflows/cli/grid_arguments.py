"""Flags of all verbs that read a grid file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from threedrs_workflows.cli.output import say

if TYPE_CHECKING:
    from threedrs_workflows.grid.cells import GridCells


def add_grid_arguments(parser: argparse.ArgumentParser) -> None:
    """FILE, --set, --where and --smoke."""
    parser.add_argument("file", metavar="FILE", type=Path, help="a grid file, see ablations.yaml")
    parser.add_argument(
        "--set",
        dest="sets",
        metavar="KEY=VALUE[,VALUE]",
        action="append",
        default=[],
        help="one value changes the base; several replace an axis of the file or multiply the "
        "whole grid (`seeds=1,2`: the seeds); may be repeated",
    )
    parser.add_argument(
        "--where",
        metavar="EXPR",
        help="""keep only matching cells: "teacher != 'mae'", or by `label` or `name`""",
    )
    parser.add_argument(
        "--smoke", action="store_true", help="the preset's smallest sizes and one seed"
    )


def grid_of(args: argparse.Namespace) -> GridCells:
    """The grid that these flags describe, with weights that fit its students, where they are here.

    Says which settings of file and flags nothing reads.

    Raises:
        ConfigError: lists every fault in file and flags, or every checkpoint that does not fit.
    """
    from threedrs_workflows.grid.cells import load_cells
    from threedrs_workflows.grid.starts import refuse_wrong_starts

    grid = load_cells(args.file, smoke=args.smoke, sets=tuple(args.sets), where=args.where)
    refuse_wrong_starts(cell.experiment for cell in grid.cells)
    for note in grid.unread():
        say(args, f"note: {note}")
    return grid
