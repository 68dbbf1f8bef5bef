"""`workflows init`: a first grid file, for the scenes one has."""

from __future__ import annotations

import argparse
from pathlib import Path

from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.storage import place_errors
from threedrs_workflows.cli.output import emit
from threedrs_workflows.cli.validate import cell_table, grid_content
from threedrs_workflows.grid.cells import load_cells
from threedrs_workflows.grid.file import plain_name
from threedrs_workflows.grid.first_grid import first_grid

SUMMARY = "write a first grid file with comments, for the scenes you have"

EXAMPLES = """\
examples:
  workflows init first                              no data: rendered rooms, runs on this machine
  workflows init rooms --scenes /data/rooms         folders of posed RGB-D frames
  workflows init scannet --scenes /data/scannet     ScanNet as downloaded, or as prepared
  workflows init clips --scenes /data/vsibench      videos, DATASET/SCENE.mp4
  workflows init rooms --scenes /data/rooms --annotations /data/questions

What lies in the folder decides what is written. The file is NAME.yaml in the current folder; one
that is there already is never touched. It is valid as it is (`workflows validate NAME.yaml`), and
its comments say what to change first. What is still missing before `workflows submit`, such as
weights or lists of scenes, is listed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    parser.add_argument("name", metavar="NAME", help="lower-case letters, digits and dashes")
    parser.add_argument(
        "--scenes",
        type=Path,
        metavar="DIR",
        help="where your scenes are; without it: the rendered rooms of the micro world",
    )
    parser.add_argument(
        "--annotations",
        type=Path,
        metavar="DIR",
        help="where questions, descriptions and boxes are; default: the folder of the scenes",
    )


def run(args: argparse.Namespace) -> int:
    """Write the file, read it back, and say what comes next."""
    try:
        path = Path(f"{plain_name(args.name)}.yaml")
    except ValueError as error:
        raise ConfigError([Fault(f"{error}; the file's ending is added", "NAME")]) from None
    if path.exists():
        raise ConfigError([Fault(f"{path} is there already; choose another name, or move it")])
    first = first_grid(args.name, args.scenes, args.annotations)
    with place_errors(f"write {path}"), path.open("x", encoding="utf-8") as file:
        file.write(first.text)
    try:
        grid = load_cells(path)
    except ConfigError:  # every verb would refuse it
        path.unlink()
        raise
    then = [f"workflows {verb} {path}" for verb in ("validate", *first.then)]
    lines = [f"{path}: {first.found}", cell_table(grid)]
    if first.before:
        lines += ["before it can be submitted:", *(f"  {each}" for each in first.before)]
    lines += ["then:", *(f"  {each}" for each in then)]
    content = {
        "file": str(path),
        "found": first.found,
        "before": list(first.before),
        "then": then,
        "grid": grid_content(grid),
    }
    emit(args, content, "\n".join(lines))
    return 0
