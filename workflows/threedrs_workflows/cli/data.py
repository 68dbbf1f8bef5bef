"""`workflows data`: what to fetch, from where, under which licence; and whether it is here."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.errors import ConfigError, Fault
from threedrs_workflows.cli.output import columns, emit, say
from threedrs_workflows.sources.catalogue import Source, catalogue, source_named

if TYPE_CHECKING:
    from threedrs_workflows.sources.check import FileState, GridState

SUMMARY = "what real data, students and teachers to fetch, and whether they are here and right"

EXAMPLES = """\
examples:
  workflows data                       everything the grids read: origin, licence, size
  workflows data scannet               one of them: what to do with it, where its files are to lie
  workflows data check /data/3drs      each file: present, missing or wrong; which grids can run
  workflows data fetch dinov2 /data/3drs    what nobody need sign for, from its hub

Data under a signed licence are never fetched for you. Files whose published checksum nobody knows
are told by size, number of records and sha256: compare that with the run you want to reproduce.
Exit code of check: 0 all grids can run, 10 something is missing, 2 something is wrong.
"""
MISSING, WRONG = 10, 2
CHECK, FETCH = "check", "fetch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument(
        "what", nargs="?", metavar="NAME|check|fetch", help="a source, or what to do; default: list"
    )
    parser.add_argument(
        "rest", nargs="*", metavar="DIR", help="folder to check; or source and folder to fetch into"
    )


def run(args: argparse.Namespace) -> int:
    """List, show, check or fetch."""
    if args.what == CHECK:
        return _check(args, *_arguments(args, "DIR"))
    if args.what == FETCH:
        return _fetch(args, *_arguments(args, "NAME DIR"))
    if args.what is not None and args.what not in catalogue():
        hint = did_you_mean(args.what, (CHECK, FETCH, *catalogue()))
        raise ConfigError([Fault(f"no source {args.what!r}{hint}")])
    if args.rest:
        raise ConfigError([Fault(f"{args.what} takes no further argument", args.rest[0])])
    if args.what is None:
        emit(args, {"sources": _content(catalogue())}, _list())
    else:
        source = source_named(args.what)
        emit(args, {"sources": _content({args.what: source})}, _one(args.what, source))
    return 0


def _arguments(args: argparse.Namespace, wanted: str) -> list[str]:
    if len(args.rest) != len(wanted.split()):
        raise ConfigError([Fault(f"wants {wanted}: workflows data {args.what} {wanted}")])
    found: list[str] = args.rest
    return found


def _content(sources: dict[str, Source]) -> dict[str, Any]:
    return {name: source.canonical() for name, source in sources.items()}


def _list() -> str:
    parts: list[str] = []
    groups = dict.fromkeys(source.group for source in catalogue().values())
    for group in groups:
        rows = [
            (name, source.size or "-", source.licence, source.what)
            for name, source in catalogue().items()
            if source.group == group
        ]
        parts += [f"{group}:", columns(rows), ""]
    return "\n".join([*parts, "`workflows data NAME` says where one is and what to do with it."])


def _one(name: str, source: Source) -> str:
    facts = [
        ("from", source.origin),
        ("licence", source.licence),
        ("size", source.size or "nobody measured it"),
        ("then", source.how),
        ("or", f"workflows data fetch {name} DIR" if source.hub else ""),
    ]
    files = [
        (f"DIR/{file.path}", file.what or (f"{file.records:,} records" if file.records else ""))
        for file in source.files
    ]
    return "\n".join(
        [
            f"{name}: {source.what}",
            columns([fact for fact in facts if fact[1]]),
            "files, where the presets look for them with DATA=DIR:",
            columns(files),
        ]
    )


def _check(args: argparse.Namespace, folder: str) -> int:
    # Brings every grid and its settings, which a list need not wait for.
    from threedrs_workflows.sources.check import check_files, check_grids

    root = Path(folder)
    if not root.is_dir():
        raise ConfigError([Fault(f"{folder}: no such folder")])
    files = list(check_files(root, lambda path: say(args, f"reading {path}")))
    grids = list(check_grids(root))
    content = {
        "root": folder,
        "files": [asdict(file) for file in files],
        "grids": [{**asdict(grid), "can_run": grid.can_run} for grid in grids],
    }
    wrong = {each.source for each in files if each.state == "wrong"}
    grid_rows = [
        (each.grid, _doubts(each, wrong) if each.can_run else _hindrance(each)) for each in grids
    ]
    states = Counter(each.state for each in files)
    told = ", ".join(f"{states[state]} {state}" for state in ("present", "missing", "wrong"))
    able = sum(each.can_run for each in grids)
    lines = [
        f"files under {folder} ({told}); state, path, sha256:",
        columns(_rows(files)),
        f"grids ({able} of {len(grids)} can run):",
        columns(grid_rows),
    ]
    emit(args, content, "\n".join(lines))
    if states["wrong"]:
        return WRONG
    return 0 if able == len(grids) else MISSING


def _rows(files: Iterable[FileState]) -> list[tuple[str, ...]]:
    """State, path, first digits of the sha256, and what there is to say."""
    return [(each.state, each.path, (each.sha256 or "")[:12] or "-", each.note) for each in files]


def _doubts(grid: GridState, wrong: Collection[str]) -> str:
    """That a grid can run, and on which files that are not the published ones."""
    doubtful = [name for name in grid.reads if name in wrong]
    return f"can run, on wrong files of {', '.join(doubtful)}" if doubtful else "can run"


def _hindrance(grid: GridState) -> str:
    """What a grid waits for: sources by name, or paths where none has them."""
    lacks = ", ".join(grid.sources or grid.missing)
    return "; ".join([*([f"lacks {lacks}"] if lacks else []), *grid.faults])


def _fetch(args: argparse.Namespace, name: str, folder: str) -> int:
    from threedrs_workflows.sources.check import check_files
    from threedrs_workflows.sources.fetch import fetch

    source = source_named(name)
    say(args, f"{name}: {source.size or 'of unknown size'}, licence: {source.licence}")
    got = fetch(name, Path(folder))
    files = [each for each in check_files(Path(folder)) if each.source == name]
    text = [f"{name} lies in {got}. {source.how}".strip(), columns(_rows(files))]
    content = {"source": name, "folder": str(got), "files": [asdict(each) for each in files]}
    emit(args, content, "\n".join(text))
    return WRONG if any(each.state == "wrong" for each in files) else 0
