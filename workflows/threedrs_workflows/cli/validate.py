"""`workflows validate`: a grid file's cells, or all its faults. Of data it reads weight headers."""

from __future__ import annotations

import argparse
from typing import Any

from threedrs_platform.config.faults import shown
from threedrs_platform.config.paths import split_path
from threedrs_platform.config.tree import get_in
from threedrs_workflows.cli.grid_arguments import add_grid_arguments, grid_of
from threedrs_workflows.cli.output import columns, emit, say
from threedrs_workflows.grid.cells import GridCell, GridCells
from threedrs_workflows.grid.packages import missing_meteor
from threedrs_workflows.grid.starts import refuse_wrong_records

SUMMARY = "check a grid file: its cells, or every mistake with line and column"

EXAMPLES = """\
examples:
  workflows validate ablations.yaml
  workflows validate ablations.yaml --set teacher=vggt,mae --set training.steps=700
  workflows validate ablations.yaml --settings      every setting with the base's value
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    add_grid_arguments(parser)
    parser.add_argument(
        "--settings", action="store_true", help="list every setting by its dotted name"
    )


def run(args: argparse.Namespace) -> int:
    """Print the cells."""
    grid = grid_of(args)
    refuse_wrong_records(cell.experiment for cell in grid.cells)
    content = grid_content(grid)
    if missing := missing_meteor(cell.experiment for cell in grid.cells):
        say(args, f"this machine could not run it: {missing}")
    if args.settings:
        content["settings"] = _settings(grid)
    emit(args, content, _text(args, grid))
    return 0


def grid_content(grid: GridCells) -> dict[str, Any]:
    """A grid as JSON."""
    return {
        "name": grid.name,
        "digest": grid.digest,
        "seeds": list(grid.seeds),
        "cells": [cell_content(cell) for cell in grid.cells],
        "notes": [str(note) for note in grid.unread()],
    }


def cell_content(cell: GridCell) -> dict[str, Any]:
    """A cell as JSON."""
    return {
        "cell_id": cell.cell_id,
        "name": cell.name,
        "label": cell.label,
        "axes": dict(cell.axes),
        "is_baseline": cell.is_baseline,
    }


def cell_table(grid: GridCells) -> str:
    """Cells for people."""
    rows = [
        (cell.cell_id, cell.name, cell.label, "(baseline)" if cell.is_baseline else "")
        for cell in grid.cells
    ]
    return columns(rows)


def _settings(grid: GridCells) -> dict[str, Any]:
    values = grid.base.canonical()
    return {path: get_in(values, split_path(path)) for path in grid.settings}


def _text(args: argparse.Namespace, grid: GridCells) -> str:
    count, seeds = len(grid.cells), ", ".join(map(str, grid.seeds))
    head = f"{args.file}: {grid.name}, {count} cell{'s' * (count != 1)} x seeds {seeds}"
    parts = [head, cell_table(grid)]
    if args.settings:
        rows = [(path, shown(value)) for path, value in _settings(grid).items()]
        parts += ["", "settings of the base:", columns(rows)]
    return "\n".join(parts)
