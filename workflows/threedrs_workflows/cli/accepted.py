"""`workflows accepted`: results of older code that stand for newer code, and their end."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict

from threedrs_platform.database.acceptances import Acceptance, Acceptances
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.workspace import find_workspace
from threedrs_workflows.cli.output import columns, emit

SUMMARY = "results of older code that were accepted for newer code; --take-back ends it"

EXAMPLES = """\
examples:
  workflows accepted                    who accepted what, when and why
  workflows accepted --take-back 3 4    the next submit runs these steps
  workflows accepted --take-back all
"""

ALL = "all"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    parser.add_argument(
        "--take-back", metavar="NUMBER", nargs="+", default=[], help=f"end these, or {ALL!r}"
    )


def run(args: argparse.Namespace) -> int:
    """List acceptances, or end some."""
    with find_workspace(args.workspace, args.db, with_runs=True) as workspace:
        acceptances = Acceptances(workspace.database)
        every = acceptances.every()
        if args.take_back:
            ended = acceptances.take_back(_numbers(args.take_back, every))
            emit(
                args,
                {"taken_back": [asdict(each) for each in ended]},
                f"acceptances taken back: {len(ended)}; `workflows plan` shows what has to run now",
            )
            return 0
    emit(args, {"acceptances": [asdict(each) for each in every]}, _table(every))
    return 0


def _numbers(wanted: Sequence[str], every: Sequence[Acceptance]) -> list[int]:
    open_ones = {str(each.number): each.number for each in every if each.taken_back_at is None}
    if wanted == [ALL]:
        return list(open_ones.values())
    strangers = [each for each in wanted if each not in open_ones]
    if strangers:
        known = ", ".join(open_ones) or "none"
        message = "no acceptance {!r} in force; those: {}"
        raise ConfigError([Fault(message.format(s, known), "--take-back") for s in strangers])
    return [open_ones[each] for each in wanted]


def _table(every: Sequence[Acceptance]) -> str:
    if not every:
        return "nothing was accepted: all results were computed by the code that they stand for"
    rows = [("", "STEP", "KEY", "RESULTS OF", "CODE", "WHEN", "BY", "WHY")]
    for each in every:
        why = each.why if each.taken_back_at is None else f"taken back ({each.why})"
        rows.append(
            (
                str(each.number),
                f"{each.kind} {each.label}".rstrip(),
                each.key[:12],
                each.source[:12],
                f"{each.old_code[:8]} -> {each.new_code[:8]}",
                time.strftime("%Y-%m-%d %H:%M", time.localtime(each.accepted_at)),
                each.accepted_by,
                why,
            )
        )
    return columns(rows)
