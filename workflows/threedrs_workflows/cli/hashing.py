"""Data that are read to know their content: how far that is, and what a plan leaves unread."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path

from threedrs_platform.identity.file_digests import FileDigests, Unhashed
from threedrs_workflows.cli.output import columns, say

PLAN_READS = 2**30
"""Bytes that a plan reads without being asked: a second or two."""
SAY_EVERY_S = 5.0


def show_hashing(args: argparse.Namespace, digests: FileDigests) -> None:
    """Say now and then how far the reading of a large folder is."""
    last = time.monotonic()

    def progress(folder: Path, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= SAY_EVERY_S:
            last = time.monotonic()
            say(args, f"reading {folder}: {size_text(done)} of {size_text(total)}")

    digests.progress = progress


def bound_for_plans(digests: FileDigests, *, read: bool, again: bool) -> None:
    """A plan does not read a hundred gigabytes unless it is told to."""
    digests.rehash = again
    digests.most_bytes = None if read or again else PLAN_READS


def unhashed_text(unhashed: Mapping[str, Unhashed]) -> str:
    """What nobody has read yet; nothing if all is known."""
    if not unhashed:
        return ""
    rows = [
        (path, each.setting, f"{size_text(each.size)} in {each.files:,} files")
        for path, each in sorted(unhashed.items())
    ]
    head = (
        "not hashed yet, so steps that read from here count as steps to run; "
        "submit reads it, or --hash:"
    )
    return f"{head}\n{columns(rows)}"


def size_text(size: float) -> str:
    """Bytes for people: 12 MB, 3.4 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
