"""`workflows gc`: remove artifacts and scratch folders that no kept run needs."""  # noqa: A005

from __future__ import annotations

import argparse
import re
import shutil

from threedrs_platform.compute.scratch import step_of
from threedrs_platform.database.retention import needed, scratch_folders
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.storage import storage_errors
from threedrs_platform.workspace import find_workspace
from threedrs_workflows.cli.output import emit

SUMMARY = "remove artifacts that no kept run needs (a dry run unless --apply)"

EXAMPLES = """\
examples:
  workflows gc                              what would go
  workflows gc --keep-runs 5 --older-than 7d --apply

Kept are the artifacts of the newest runs, of all that run or can be resumed, of recent steps, and
pinned ones. What interrupted processes left, and what was set aside as damaged, goes by its age.
Results in the database are never removed.
"""

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    parser.add_argument(
        "--keep-runs", type=int, default=20, metavar="N", help="newest runs whose artifacts stay"
    )
    parser.add_argument(
        "--older-than",
        default="30d",
        metavar="AGE",
        help="spare what is younger: 30d, 12h, 10m, 5s",
    )
    parser.add_argument("--apply", action="store_true", help="do remove")


def run(args: argparse.Namespace) -> int:
    """Mark, spare, sweep."""
    age = seconds(args.older_than)
    with find_workspace(args.workspace, args.db, with_runs=True) as workspace:
        # Folders first: a step that begins after this look has a folder that is not in the list.
        folders = scratch_folders(workspace.scratch)
        keep = needed(workspace.database, args.keep_runs, age)
        garbage = workspace.store.gc(keep.digests, age, args.apply)
        scratch = [folder for folder in folders if step_of(folder.name) not in keep.unfinished]
        if args.apply:
            for folder in scratch:
                with storage_errors(f"remove {folder}"):
                    shutil.rmtree(folder)
    verb = "removed" if args.apply else "would remove"
    text = (
        f"{verb} {len(garbage.digests)} artifacts ({garbage.size / 1e6:.1f} MB) and "
        f"{len(scratch)} scratch folders; {garbage.kept} kept, {garbage.in_grace} too young"
    )
    if garbage.leftovers:
        text += f"; {verb} {garbage.leftovers} leftovers ({garbage.leftover_bytes / 1e6:.1f} MB)"
    if garbage.ignored:
        text += f"; no artifacts, left alone: {', '.join(garbage.ignored)}"
    if not args.apply and (garbage.digests or scratch or garbage.leftovers):
        text += "; do it with --apply"
    content = {
        "applied": args.apply,
        "artifacts": list(garbage.digests),
        "bytes": garbage.size,
        "scratch": [folder.name for folder in scratch],
        "kept": garbage.kept,
        "in_grace": garbage.in_grace,
        "leftovers": garbage.leftovers,
        "leftover_bytes": garbage.leftover_bytes,
        "ignored": list(garbage.ignored),
    }
    emit(args, content, text)
    return 0


def seconds(age: str) -> float:
    """`30d`, `12h`, `10m`, `5s` or `0` in seconds.

    Raises:
        ConfigError: the text is none of these.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", age)
    if found is None:
        raise ConfigError([Fault(f"{age!r} is no age; write 30d, 12h, 10m or 5s", "--older-than")])
    return float(found[1]) * UNITS[found[2] or "s"]
