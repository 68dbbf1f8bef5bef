"""`workflows results`: the table of a run, its comparisons, and what they do and do not show."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

from threedrs_platform.errors import ConfigError, Fault, StorageError
from threedrs_workflows.cli.output import print_json, say, terminal_width
from threedrs_workflows.cli.run_arguments import add_run_argument

SUMMARY = "a run's table: mean ± sd over seeds, differences to the baseline, what they show"

EXAMPLES = """\
examples:
  workflows results                                     the newest run
  workflows results --metric 'scanrefer/*' --metric 'probe/*'
  workflows results --metric '*'                        every metric, question types too
  workflows results --where "teacher == 'vggt'" --format latex --out table.tex
  workflows results --compare paper                     ours beside the paper's tables
  workflows results --compare paper:table4              beside this one

The mark * stands for a difference that is significant over seeds and scenes, ° for one over scenes
only. What is tested is a matter of the grid (its report.metrics and the paper's claims), not of
what is shown. A number that should be there and is not is shown as missing, with the reason.
"""

STYLES = ("table", "csv", "md", "latex", "html", "json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    add_run_argument(parser)
    parser.add_argument(
        "--metric",
        metavar="PATTERN",
        action="append",
        default=[],
        help="show these; may be repeated; default: the grid's choice or the headlines",
    )
    parser.add_argument("--baseline", metavar="CELL", help="compare with this cell")
    parser.add_argument("--where", metavar="EXPR", help="only these cells, and the baseline")
    parser.add_argument(
        "--compare",
        metavar="paper[:tableN]",
        help="print the cells beside the paper's rows, its repaired cells marked",
    )
    parser.add_argument(
        "--shared",
        action="store_true",
        help="list what was measured once for several cells, too (as all formats but table do)",
    )
    parser.add_argument("--pivot", action="store_true", help="exchange rows and columns")
    parser.add_argument(
        "--format", choices=STYLES, default="table", help="of what is printed or written"
    )
    parser.add_argument("--out", metavar="FILE", type=Path, help="write there, not to stdout")


def run(args: argparse.Namespace) -> int:
    """Print the report."""
    from threedrs_platform.database.results import Results
    from threedrs_platform.workspace import find_workspace
    from threedrs_workflows.reports.kept_table import DATA, Look, table_text

    if args.compare is not None:
        return _beside_the_paper(args)
    look = Look(tuple(args.metric), args.baseline, args.where, DATA)
    if not args.json:
        shown = {"pivot": args.pivot, "width": _width(args), "shared": args.shared}
        look = replace(look, style=args.format, **shown)
    with find_workspace(args.workspace, args.db, with_runs=True) as workspace:
        run_id = Results(workspace.database).find_run(args.run).run_id
        text = table_text(workspace, run_id, look)
    if args.json:
        print_json("results", json.loads(text))
        return 0
    return _print(args, text)


def _beside_the_paper(args: argparse.Namespace) -> int:
    """Print the run beside the paper's tables."""
    from threedrs_components.report.beside_paper import (
        beside_paper,
        paper_json,
        paper_notes,
        paper_sheets,
    )
    from threedrs_components.report.render import bullets, sheet_latex, sheet_markdown, sheets_text
    from threedrs_platform.database.results import Results
    from threedrs_platform.workspace import find_workspace
    from threedrs_workflows.reports.run_report import run_table

    name = _table_name(args.compare)
    if args.format not in ("table", "md", "latex", "json"):
        fault = f"{args.format} cannot hold two sides; use table, md, latex or json"
        raise ConfigError([Fault(fault, file="--format")])
    with find_workspace(args.workspace, args.db, with_runs=True) as workspace:
        run_id = Results(workspace.database).find_run(args.run).run_id
        table = run_table(workspace.database, run_id, args.baseline, args.where)
    found = beside_paper(table, name, tuple(args.metric))
    notes = paper_notes(found, table)
    if args.json:
        print_json("results", {"run": {"id": run_id}, **paper_json(found, notes)})
        return 0
    made = paper_sheets(found, args.pivot)
    if args.format == "json":
        text = json.dumps(paper_json(found, notes), indent=2, allow_nan=False) + "\n"
    elif args.format == "table":
        text = sheets_text(made, _width(args)) + "\n" + bullets("Read with care", notes)
    else:
        write = sheet_markdown if args.format == "md" else sheet_latex
        text = "\n\n".join([*map(write, made), *notes]) + "\n"
    return _print(args, text)


def _table_name(compare: str) -> str | None:
    """The table of `paper:tableN`; None for "paper".

    Raises:
        ConfigError: something else is to be compared with.
    """
    what, _, name = compare.partition(":")
    if what != "paper":
        hint = "expected paper or paper:tableN; two runs are compared by `workflows compare`"
        raise ConfigError([Fault(f"{compare!r}: {hint}", file="--compare")])
    return name or None


def _print(args: argparse.Namespace, text: str) -> int:
    """To stdout, or into the file of --out."""
    if args.out is None:
        sys.stdout.write(text)
    else:
        _write(args.out, text)
        say(args, f"wrote {args.out}")
    return 0


def _width(args: argparse.Namespace) -> int | None:
    return terminal_width() if args.out is None else None


def _write(file: Path, text: str) -> None:
    from threedrs_platform.storage import place_errors

    with place_errors(f"write {file}"):
        try:
            file.write_text(text, encoding="utf-8")
        except (FileNotFoundError, IsADirectoryError) as error:
            raise StorageError(f"cannot write {file}: {error.strerror}") from error
