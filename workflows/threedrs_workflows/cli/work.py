"""`workflows work`: a plain worker that does steps of a run beside others, on any machine."""

from __future__ import annotations

import argparse
import os
import re
import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Event

from threedrs_platform.compute.open import open_compute
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.database.run_reader import RunRow
from threedrs_platform.errors import ConfigError, Fault, StorageError
from threedrs_platform.states import RunState
from threedrs_platform.workspace import Workspace, find_workspace
from threedrs_workflows.cli.output import emit, say
from threedrs_workflows.cli.run_arguments import add_run_argument
from threedrs_workflows.cli.supervision import (
    EXIT_CODES,
    budget_of,
    interruptible,
    max_failures_of,
    resume_hint,
)
from threedrs_workflows.engine.display import open_display
from threedrs_workflows.engine.run_context import SupervisorOptions
from threedrs_workflows.engine.worker import Share, Worker
from threedrs_workflows.plan.plan import Plan
from threedrs_workflows.plan.submission import plan_recorded
from threedrs_workflows.tracking.tracker import start_tracker

SUMMARY = "do steps of a run beside other workers, on this or other machines"

EXAMPLES = """\
examples:
  workflows work RUN                                  whatever is ready, until nothing is left
  workflows work RUN --kinds finetune --gpus 8        trainings only, one after the other
  workflows work RUN --kinds prepare,extract --max-idle 600
  workflows work RUN --max-time 3:50:00               stops at a checkpoint before a time limit
  torchrun --nnodes 2 --nproc-per-node 1 ... --no-python workflows work RUN --group

Start as many as you like, wherever workspace and database are within reach: each step is claimed
by one of them. `workflows submit GRID --slurm` starts them as Slurm jobs. SIGTERM stops a worker:
its step keeps its checkpoint, and whichever worker comes next goes on with it.
Exit codes: those of `submit` once the run has ended; 0 if others go on; 130 stopped; 75 idle too
long, come again.
"""

IDLE = 75
POLL_S = 1.0
"""Workers of many machines share one database: they look less often than a lone supervisor."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    add_run_argument(parser)
    parser.add_argument("--kinds", metavar="KIND,...", help="take steps of these kinds only")
    parser.add_argument(
        "--gpus", type=float, metavar="N", help="take steps of so many GPUs at most"
    )
    parser.add_argument(
        "--cpus", type=float, metavar="N", help="take steps of so many CPUs at most"
    )
    parser.add_argument(
        "--memory-gib", type=float, metavar="N", help="take steps of so much memory at most"
    )
    parser.add_argument(
        "--min-nodes",
        type=int,
        default=1,
        metavar="N",
        help="with --group: take steps of so many nodes at least; default: 1",
    )
    parser.add_argument(
        "-j", "--jobs", type=int, metavar="N", help="most steps at a time; 1 with --ray none"
    )
    idle = parser.add_mutually_exclusive_group()
    idle.add_argument("--until-idle", action="store_true", help="leave when nothing is ready")
    idle.add_argument(
        "--max-idle", type=float, metavar="SECONDS", help="wait no longer for others' steps"
    )
    parser.add_argument("--max-time", metavar="[H:]MM:SS", help="stop after this time")
    parser.add_argument(
        "--group",
        action="store_true",
        help="the processes that srun or torchrun started are one worker: the first takes steps, "
        "trainings are spread over all",
    )


def run(args: argparse.Namespace) -> int:
    """Join the run and work, alone or with the processes that were started with this one."""
    share = _share(args)
    with _preemptible() as stop:
        if not args.group:
            return _join(args, share, stop)
        from threedrs_workflows.engine.together import follow, led, party_of

        party, root = party_of(os.environ), find_workspace(args.workspace, args.db).root
        if (args.ray or "none") != "none":
            raise ConfigError([Fault("Ray spreads trainings itself; leave out --ray", "--group")])
        if party.seat.number == 0:
            with led(party, root, stop.set):
                return _join(args, replace(share, nodes=party.seat.size), stop)
        if follow(party, root, stop):
            return 0
    say(args, "the first process of this worker is gone")
    return IDLE


def _join(args: argparse.Namespace, share: Share, stop: Event) -> int:
    with find_workspace(args.workspace, args.db, with_runs=True) as workspace:
        found = workspace.runs.get(args.run)
        if found.state is not RunState.RUNNING:
            return _told(args, found.id, found.state)
        plan = plan_recorded(workspace, found.id)
        if share.kinds is not None:
            _refuse_unknown_kinds(share.kinds, {step.spec.kind for step in plan.steps})
        worker = _work(args, workspace, found, plan, share, stop)
        state = workspace.runs.get(found.id).state
    if worker.outcome is RunState.INTERRUPTED:
        say(args, "stopped; its steps go on from their last checkpoints")
        state = RunState.INTERRUPTED
    elif state is RunState.RUNNING and worker.was_idle:
        say(args, "what this worker takes waits for steps of others; it leaves")
        return _told(args, found.id, state, IDLE, worker)
    return _told(args, found.id, state, None, worker)


def _work(
    args: argparse.Namespace,
    workspace: Workspace,
    found: RunRow,
    plan: Plan,
    share: Share,
    stop: Event,
) -> Worker:
    compute = open_compute(args.ray or "none", args.jobs)
    options = SupervisorOptions(args.jobs, max_failures=max_failures_of(found), poll_s=POLL_S)
    try:
        worker = Worker(
            workspace,
            compute,
            options,
            open_display(args.quiet),
            stop=stop,
            budget=budget_of(found),
            share=share,
        )
        worker.run(found.id, plan)
    except StorageError as error:
        raise StorageError(f"{error}\n{resume_hint(found.id)}") from error
    finally:
        compute.close()
    if worker.wrote_the_end and (tracker := start_tracker(workspace, found.id)):
        say(args, tracker.finish() or "MLflow is up to date")
    return worker


@contextmanager
def _preemptible() -> Iterator[Event]:
    """An event that signals set. SIGTERM may come more than once: Slurm tells a job's processes,
    and the job's script tells its worker."""
    with interruptible() as stop:
        before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
        try:
            yield stop
        finally:
            signal.signal(signal.SIGTERM, before)


def _told(
    args: argparse.Namespace,
    run_id: str,
    state: RunState,
    code: int | None = None,
    worker: Worker | None = None,
) -> int:
    if code is None:
        code = 0 if state is RunState.RUNNING else EXIT_CODES[state]
    steps = dict(worker.tally) if worker is not None else {}
    text = f"run {run_id}: {state}; {steps.get('done', 0)} steps done here"
    emit(args, {"run": run_id, "state": state, "exit": code, "steps": steps}, text)
    return code


def _refuse_unknown_kinds(kinds: Collection[str], known: Collection[str]) -> None:
    faults = [
        Fault(f"the run has no steps of kind {kind!r}{did_you_mean(kind, known)}", "--kinds")
        for kind in kinds
        if kind not in known
    ]
    if faults:
        raise ConfigError(faults)


def _share(args: argparse.Namespace) -> Share:
    faults = []
    kinds = None if args.kinds is None else args.kinds.split(",")
    most_s = None
    if args.max_time is not None:
        most_s = seconds_of(args.max_time)
        if most_s is None:
            message = f"expected [D-]H:MM:SS, MM:SS or minutes, not {args.max_time!r}"
            faults.append(Fault(message, "--max-time"))
    if faults:
        raise ConfigError(faults)
    idle = 0.0 if args.until_idle else args.max_idle
    return Share(
        kinds,
        args.gpus,
        args.cpus,
        args.memory_gib,
        least_nodes=args.min_nodes,
        max_idle_s=idle,
        max_time_s=most_s,
    )


def seconds_of(text: str) -> float | None:
    """A time as Slurm writes it: minutes, MM:SS, H:MM:SS, D-H:MM:SS; None if it is none."""
    found = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)|(\d+)", text)
    if found is None:
        return None
    days, hours, minutes, seconds, alone = (int(part or 0) for part in found.groups())
    return 60.0 * alone or 86400.0 * days + 3600.0 * hours + 60.0 * minutes + seconds
