"""`workflows verify`: hold every artifact against its hash."""

from __future__ import annotations

import argparse

from threedrs_platform.database.retention import known_digests
from threedrs_platform.store.artifacts import Health
from threedrs_platform.workspace import Workspace, find_workspace
from threedrs_workflows.cli.output import columns, emit

SUMMARY = "hold every artifact against its hash; the damaged ones are set aside"

EXAMPLES = """\
examples:
  workflows verify           sizes and times; content is read where they changed
  workflows verify --deep    every byte
  workflows verify --adopt-store    this store is the database's from now on

A damaged artifact is moved to quarantine; the next submission makes it again.
A byte that changed while the file kept its time is found by --deep only, and by the steps that
read it: they hash artifacts of up to 256 MiB once a process, larger ones once a day.
"""

MISMATCH = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    parser.add_argument("--deep", action="store_true", help="read every byte")
    parser.add_argument(
        "--adopt-store",
        action="store_true",
        help="give up the store that the database had; what is missing in this one is made again",
    )


def run(args: argparse.Namespace) -> int:
    """Check what the store holds and what the journal says it should hold."""
    with find_workspace(args.workspace, args.db, with_runs=True) as workspace:
        if args.adopt_store:
            workspace.claim_store(adopt=True)
        bad, count = _check(workspace, args.deep)
    rows = [(health, digest[:12], step) for digest, (health, step) in bad.items()]
    text = f"{count} artifacts, {len(bad)} missing or damaged" + (
        "" if args.deep else " (by sizes and times; --deep reads every byte)"
    )
    content = {
        "checked": count,
        "deep": args.deep,
        "bad": [
            {"digest": digest, "health": health, "step": step}
            for digest, (health, step) in bad.items()
        ],
    }
    emit(args, content, "\n".join([text, columns(rows)]) if rows else text)
    return MISMATCH if bad else 0


def _check(workspace: Workspace, deep: bool) -> tuple[dict[str, tuple[Health, str]], int]:
    store, steps = workspace.store, known_digests(workspace.database)
    check = store.verify if deep else store.stat_check
    digests = sorted({*steps, *store.digests()})
    found = {digest: check(digest) for digest in digests}
    bad: dict[str, tuple[Health, str]] = {
        digest: (health, steps.get(digest, "no step"))
        for digest, health in found.items()
        if health is not Health.OK
    }
    return bad, len(digests)
