"""What verbs print: one JSON object for programs, or text for people."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from threedrs_platform.workspace import Workspace

_results: TextIO | None = None
"""Where results go while stdout is kept for them."""


@contextmanager
def stdout_for_results(kept: bool) -> Iterator[None]:
    """Keep stdout for results: whatever libraries print goes to stderr.

    DeepSpeed, which transformers brings in, logs to stdout, and a program could not read the JSON.
    """
    global _results
    if not kept:
        yield
        return
    _results = sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        _results = None


def print_result(text: str) -> None:
    """A line of the outcome, to stdout."""
    print(text, file=_results, flush=True)


def print_json(verb: str, content: Mapping[str, Any]) -> None:
    """The one object on stdout of a verb under `--json`."""
    schema = {"schema": f"workflows.{verb}/1"}
    print_result(json.dumps({**schema, **content}, ensure_ascii=False, default=str))


def emit(args: argparse.Namespace, content: Mapping[str, Any], text: str) -> None:
    """The outcome of a verb: as JSON where asked for, else as text."""
    if args.json:
        print_json(args.verb, content)
    else:
        print_result(text)


def say(args: argparse.Namespace, text: str) -> None:
    """Prose beside the outcome; on stderr, and nowhere under `--quiet`."""
    if not args.quiet:
        print(text, file=sys.stderr)


def say_absence(args: argparse.Namespace, workspace: Workspace) -> None:
    """Say so where a workspace is only looked at and is not there."""
    if workspace.absence:
        say(args, f"{workspace.absence}: shown as if nothing had run, and nothing is written")


def columns(rows: Sequence[Sequence[Any]], indent: str = "  ") -> str:
    """Rows as aligned columns; the last column runs free."""
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    count = max((len(row) for row in texts), default=0)
    widths = [max(len(row[i]) for row in texts if i < len(row)) for i in range(count)]
    return "\n".join(
        indent
        + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()
        for row in texts
    )


def terminal_width() -> int | None:
    """Columns of the terminal; None for files and pipes, where nothing need be folded."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def duration(seconds: float) -> str:
    """Seconds for people: 0.4 s, 38 s, 12 min, 3 h 20 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
