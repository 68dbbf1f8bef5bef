"""Flags of the verbs that work on runs, apart from that work: `--help` imports nothing of it."""

from __future__ import annotations

import argparse

RUN_HELP = "id, its beginning, or a grid's name for its newest run; default: the newest run"


def add_run_argument(parser: argparse.ArgumentParser) -> None:
    """RUN of the verbs about a run; `--run RUN`, as of the verbs about cells, works too."""
    # Suppressed, so that a RUN that is left out does not put the default in the place of --run.
    parser.add_argument("run", metavar="RUN", nargs="?", default=argparse.SUPPRESS, help=RUN_HELP)
    parser.add_argument("--run", dest="run", default="last", help=argparse.SUPPRESS)


def add_run_and_more(
    parser: argparse.ArgumentParser, name: str, metavar: str, nargs: str, told: str
) -> None:
    """RUN and what is of it; where --run names the run, every argument is of it."""
    parser.add_argument("run", metavar="RUN", nargs="?", help=RUN_HELP)
    parser.add_argument(name, metavar=metavar, nargs=nargs, help=told)
    parser.add_argument("--run", dest="named_run", help=argparse.SUPPRESS)


def run_and_more(args: argparse.Namespace, *more: str | None) -> tuple[str | None, list[str]]:
    """The run, and what is of it, of the flags of `add_run_and_more`."""
    if args.named_run is None:
        return args.run, [each for each in more if each is not None]
    return args.named_run, [each for each in (args.run, *more) if each is not None]


def add_supervision_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags that say how to work, never on what."""
    parser.add_argument(
        "-j",
        "--jobs",
        type=int,
        metavar="N",
        help="most steps at a time; default: what the CPUs hold; always 1 with --ray none",
    )
    failing = parser.add_mutually_exclusive_group()
    failing.add_argument(
        "-k",
        "--keep-going",
        action="store_true",
        help="finish what does not depend on a failed step (this is the default)",
    )
    failing.add_argument("--fail-fast", action="store_true", help="stop at the first failure")
    failing.add_argument(
        "--max-failures",
        type=int,
        metavar="N",
        help="start nothing more after N failed steps; `resume` goes on",
    )
    parser.add_argument(
        "--no-report", action="store_true", help="do not print the table of results at the end"
    )


def add_detachment(parser: argparse.ArgumentParser) -> None:
    """The flags of verbs that can leave a run to a cluster."""
    waiting = parser.add_mutually_exclusive_group()
    waiting.add_argument(
        "--wait",
        action="store_true",
        help="stay with the run until it ends; the default but for --ray ADDRESS",
    )
    waiting.add_argument(
        "--no-wait",
        action="store_true",
        help="leave the run to the cluster and return at once; the default of --ray ADDRESS, where "
        "a job of the cluster supervises it",
    )


def add_slurm_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of runs whose workers are Slurm jobs."""
    group = parser.add_argument_group("on Slurm")
    group.add_argument(
        "--slurm", action="store_true", help="submit job arrays of workers instead of working here"
    )
    group.add_argument(
        "--slurm-options",
        metavar='"--OPTION=VALUE ..."',
        help="of sbatch, for all jobs; the grid's steps.KIND.slurm says it per kind of step",
    )
    group.add_argument("--slurm-jobs", type=int, metavar="N", help="most jobs per array")
