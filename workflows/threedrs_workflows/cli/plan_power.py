"""`plan --power`: how many seeds would show a difference."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from threedrs_platform.errors import ConfigError, Fault
from threedrs_workflows.cli.output import columns
from threedrs_workflows.grid.cells import GridCells

if TYPE_CHECKING:
    from threedrs_platform.workspace import Workspace
    from threedrs_workflows.plan.power import MetricPower, Power


def add_power_arguments(parser: argparse.ArgumentParser) -> None:
    """--power and --spread."""
    parser.add_argument(
        "--power",
        type=float,
        nargs="?",
        const=1.0,
        metavar="POINTS",
        help="how many seeds would show a difference of so many points; default: 1",
    )
    parser.add_argument(
        "--spread",
        type=float,
        metavar="POINTS",
        help="standard deviation over seeds of a difference of two cells; default: as in the "
        "grid's last run",
    )


def power_of(args: argparse.Namespace, workspace: Workspace, grid: GridCells) -> Power | None:
    """What the flags ask for.

    Raises:
        ConfigError: a difference or a spread that is none.
    """
    if args.power is None and args.spread is None:
        return None
    difference = 1.0 if args.power is None else args.power
    for flag, value in (("--power", difference), ("--spread", args.spread)):
        if value is not None and not value > 0:
            raise ConfigError([Fault("expected more than 0 points", flag)])
    from threedrs_workflows.plan.power import plan_power

    return plan_power(workspace, grid, difference, args.spread)


def power_text(power: Power | None) -> str:
    """For people; nothing if nobody asked."""
    if power is None:
        return ""
    head = (
        f"seeds that show a difference of {power.difference:g} points (paired t test over seeds, "
        "power 80 %, alpha 5 %):"
    )
    if not power.metrics:
        return (
            f"{head}\n  nobody knows: that needs a cell and its baseline under two seeds or more, "
            "and no run of\n  this grid has them; give --spread, the standard deviation over seeds "
            "of a difference"
        )
    title = f"POWER OF {power.planned_seeds} SEED" + "S" * (power.planned_seeds != 1)
    rows = [("METRIC", "SPREAD", "SEEDS", title), *map(_row, power.metrics)]
    lines = [head, columns(rows)]
    if few := [each.metric for each in power.metrics if each.pairs is not None and each.pairs < 5]:
        lines.append(f"  * a rough guess: fewer than 5 differences ({len(few)} metrics)")
    if power.run:
        lines.append(f"  spread as in run {power.run}")
    return "\n".join(lines)


def _row(each: MetricPower) -> tuple[str, ...]:
    mark = "*" if each.pairs is not None and each.pairs < 5 else ""
    seeds = "more than 1000" if each.seeds is None else str(each.seeds)
    power = "none: no test" if each.power is None else f"{each.power:.0%}"
    return (each.metric, f"{each.spread:.2f}{mark}", seeds, power)
