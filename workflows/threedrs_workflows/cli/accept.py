"""`workflows accept`: let results of older code stand for the code of today."""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from threedrs_platform.errors import ConfigError, Fault
from threedrs_workflows.cli.grid_arguments import add_grid_arguments, grid_of
from threedrs_workflows.cli.hashing import show_hashing
from threedrs_workflows.cli.output import emit

if TYPE_CHECKING:
    from threedrs_platform.database.acceptances import Proposal

SUMMARY = "declare that an edit changes no number: results of the old code stand for the new"

EXAMPLES = """\
examples:
  workflows plan ablations.yaml                      names the functions that changed, per step
  workflows accept ablations.yaml finetune --why "renamed a variable in the loop" --dry-run
  workflows accept ablations.yaml finetune predict@baseline --why "renamed a variable"
  workflows accepted                                 what was accepted; --take-back ends it

Only the code may differ: other parameters, packages or inputs are refused. What is accepted is
recorded with both digests of code, the time and your reason, and shown as accepted rather than
computed in `plan`, `trace`, `results` and the report. Steps that read accepted results are reused,
too, if their own code has not changed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    add_grid_arguments(parser)
    parser.add_argument("steps", metavar="STEP[@CELL]", nargs="+", help="a kind of step, of a cell")
    parser.add_argument(
        "--why", metavar="TEXT", required=True, help="why no number changes; kept and shown"
    )
    parser.add_argument(
        "--from",
        dest="old_code",
        metavar="CODE",
        default="",
        help="beginning of the digest of the old code, where several gave different results",
    )
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="only show what would be accepted"
    )


def run(args: argparse.Namespace) -> int:
    """Record acceptances, or show them."""
    why = " ".join(args.why.split())
    if not why:
        raise ConfigError([Fault("say why the edit changes no number", "--why")])
    grid = grid_of(args)
    from threedrs_platform.database.acceptances import Acceptances
    from threedrs_platform.workspace import find_workspace
    from threedrs_workflows.plan.acceptance import propose
    from threedrs_workflows.plan.binding import bind_cells
    from threedrs_workflows.plan.submission import plan_cells

    with find_workspace(args.workspace, args.db, with_runs=True) as workspace:
        show_hashing(args, workspace.files)
        plan = plan_cells(workspace, bind_cells(grid, workspace.files))
        proposals = propose(plan, workspace.journal, workspace.store, args.steps, args.old_code)
        if proposals and not args.dry_run:
            Acceptances(workspace.database).add(proposals, why, getpass.getuser())
    content = {"accepted": not args.dry_run, "steps": [asdict(each) for each in proposals]}
    titles = {cell.cell_id: cell.title for cell in grid.cells}
    cells = {
        each.key: sorted(
            f"{titles[cell.cell_id]} seed {cell.seed}" for cell in plan.graph.nodes[each.key].cells
        )
        for each in proposals
    }
    emit(args, content, _text(proposals, cells, args.dry_run))
    return 0


def _text(proposals: list[Proposal], cells: Mapping[str, list[str]], dry_run: bool) -> str:
    if not proposals:
        return "nothing to accept: these steps have results already"
    lines = []
    for each in proposals:
        name = f"{each.kind} {each.label}".rstrip()
        lines.append(f"{name} {each.key[:12]} takes the results of {each.source[:12]}")
        lines.append(f"    of {', '.join(cells[each.key])}")
        codes = f"    code {each.old_code[:12]} -> {each.new_code[:12]}"
        lines += [codes, *(f"      {change}" for change in each.changes)]
    verb = "would be accepted" if dry_run else "accepted; `workflows accepted` lists and ends it"
    return "\n".join([*lines, f"steps: {len(proposals)} {verb}"])
