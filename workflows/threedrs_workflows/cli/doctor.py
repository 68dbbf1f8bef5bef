"""`workflows doctor`: is everything here that a run needs?"""

from __future__ import annotations

import argparse

from threedrs_platform.diagnosis import Verdict, diagnose
from threedrs_platform.workspace import find_workspace
from threedrs_workflows.cli.output import columns, emit
from threedrs_workflows.cli.supervision import chosen_ray

SUMMARY = "check packages, workspace, database, artifact store and abandoned runs"

EXAMPLES = """\
examples:
  workflows doctor                          what is here, and what a run would lack
  workflows doctor --ray HEAD:6379 --json   with a cluster, for programs

Nothing is started or made. Exit code: 0 all is well or worth a look, 1 a check failed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments of its own."""


def run(args: argparse.Namespace) -> int:
    """Run all checks; exit 1 if one failed."""
    ray = chosen_ray(args)
    with find_workspace(args.workspace, args.db, looks=True) as workspace:
        found = list(diagnose(workspace, ray))
    rows = [(finding.verdict, finding.name, finding.message) for finding in found]
    content = {
        "checks": [
            {"name": finding.name, "verdict": finding.verdict, "message": finding.message}
            for finding in found
        ]
    }
    emit(args, content, columns(rows))
    return int(any(finding.verdict is Verdict.FAILED for finding in found))
