"""Flags of the verbs that work on runs, apart from that work: `--help` imports nothing of it."""

from __future__ import annotations

import argparse


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
