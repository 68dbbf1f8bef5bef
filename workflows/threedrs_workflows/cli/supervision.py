"""What `submit`, `resume` and `retry` share: work on a run with signals, display and report."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

from threedrs_platform.compute.open import check_ray, open_compute
from threedrs_platform.database.run_reader import RunRow
from threedrs_platform.database.spending import gpu_seconds
from threedrs_platform.errors import ConfigError, Fault, StorageError, ThreedrsError
from threedrs_platform.states import RunState, StepState
from threedrs_platform.workspace import Workspace
from threedrs_workflows.cli.elsewhere import leave_to, left_to
from threedrs_workflows.cli.output import emit, say, terminal_width
from threedrs_workflows.engine.budget import HOUR, Budget
from threedrs_workflows.engine.display import open_display
from threedrs_workflows.engine.feed import CellFeed
from threedrs_workflows.engine.run_context import SupervisorOptions
from threedrs_workflows.engine.supervisor import Supervisor
from threedrs_workflows.plan.plan import Plan
from threedrs_workflows.reports.kept_table import Look, table_text
from threedrs_workflows.tracking.tracker import start_tracker

EXIT_CODES = {
    RunState.SUCCEEDED: 0,
    RunState.PARTIAL: 3,
    RunState.FAILED: 4,
    RunState.CANCELLED: 5,
    RunState.PAUSED: 6,
    RunState.INTERRUPTED: 130,
}
DEFAULT_RAY = "local"


def chosen_ray(args: argparse.Namespace) -> str:
    """Where steps run: `local`, `none`, or the address of a cluster."""
    return args.ray or os.environ.get("THREEDRS_RAY") or DEFAULT_RAY


def refuse_wrong_ray(args: argparse.Namespace, needed: bool = True) -> None:
    """Tell before anything is recorded that `--ray` names nothing that can be used.

    Args:
        needed: whether anything is to be executed: what is done needs no cluster.

    Raises:
        ConfigError: it is no address.
        ClusterLost: no cluster answers there.
    """
    check_ray(chosen_ray(args), needed)


BUDGET = "budget"
"""The option of a run that holds it."""


def work(args: argparse.Namespace, workspace: Workspace, run_id: str, plan: Plan) -> int:
    """Work on a run until it ends, pauses or is interrupted; print how it went."""
    run = workspace.runs.get(run_id)
    if left_to(run):
        leave_to(workspace, run_id, "")
    budget = budget_of(run)
    hint = resume_hint(run_id)
    state, tally = supervise(args, workspace, run_id, plan, hint, budget=budget)
    text = ended_text(args, workspace, run_id, state)
    summary = _summary(workspace, run_id, state, plan, tally)
    if budget is not None:
        spent = gpu_seconds(workspace.database, run_id) / HOUR
        summary["budget"] = {"gpu_hours": budget.gpu_hours, "spent": spent}
        if state is RunState.PAUSED and not workspace.runs.is_paused(run_id):
            text = _paused_text(workspace, run_id, plan, budget, spent)
    emit(args, summary, text or f"run {run_id} {state}")
    return EXIT_CODES[state]


def budget_of(run: RunRow) -> Budget | None:
    """What a run was submitted with, or given since."""
    told = run.options.get(BUDGET)
    return None if told is None else Budget(**dict(told))


def max_failures_of(run: RunRow) -> int | None:
    """Failed steps after which workers of a run start nothing more."""
    told: int | None = run.options.get("max_failures")
    return told


def _paused_text(
    workspace: Workspace, run_id: str, plan: Plan, budget: Budget, spent: float
) -> str:
    rows = workspace.journal.rows([step.key for step in plan.misses])
    left = [step for step in plan.misses if rows[step.key].state is not StepState.SUCCEEDED]
    needed = [budget.gpu_seconds(step) / HOUR for step in left if step.spec.resources.gpus]
    unknown = sum(not each for each in needed)
    guess = f"about {sum(needed):.3g} GPU-hours" if any(needed) else "GPU-hours that nobody knows"
    guess += f", {unknown} of them not counted: none has run yet" if any(needed) and unknown else ""
    enough = math.ceil(spent + sum(needed)) if any(needed) else "GPU_HOURS"
    return (
        f"run {run_id} paused: {spent:.3g} of {budget.gpu_hours:g} GPU-hours are spent; "
        f"{len(left)} steps are left, {guess}\n"
        f"go on with: workflows resume {run_id} --budget {enough}\n"
        "or raise budget.gpu_hours in the grid and submit it: nothing is done twice"
    )


def supervise(
    args: argparse.Namespace,
    workspace: Workspace,
    run_id: str,
    plan: Plan,
    hint: str,
    feed: CellFeed | None = None,
    budget: Budget | None = None,
) -> tuple[RunState, Counter[str]]:
    """Work on a run until it ends or somebody interrupts it; says what MLflow has of it.

    Args:
        hint: how to go on after an interruption.
        feed: where more cells come from.
        budget: what it may spend.

    Returns:
        How it ended, and how often each thing happened to a step.
    """
    for flag, value in (("--jobs", args.jobs), ("--max-failures", args.max_failures)):
        if value is not None and value < 1:
            raise ConfigError([Fault("expected at least 1", flag)])
    compute = open_compute(chosen_ray(args), args.jobs)
    options = SupervisorOptions(args.jobs, args.fail_fast, args.max_failures)
    tracker = start_tracker(workspace, run_id)
    try:
        with interruptible() as stop:
            supervisor = Supervisor(
                workspace,
                compute,
                options,
                open_display(args.quiet),
                stop=stop,
                feed=feed or CellFeed(),
                budget=budget,
            )
            state = supervisor.run(run_id, plan)
    except StorageError as error:
        raise StorageError(f"{error}\n{hint}") from error
    finally:
        compute.close()
    if state is RunState.INTERRUPTED:
        say(args, f"interrupted by {stop.by}; what is done is kept\n{hint}")
    elif tracker is not None and (plan.misses or feed is not None):
        say(args, tracker.finish() or "MLflow is up to date")
    return state, supervisor.tally


def resume_hint(run_id: str) -> str:
    """How to go on."""
    return f"go on with: workflows resume {run_id}"


class Interruption(threading.Event):
    """Is set when somebody wants the run to stop, and knows how that was said.

    A handler of signals may set it while its own thread waits for it: the lock of a plain event is
    not reentrant, so that a signal in the wrong microsecond would stop the process for ever.
    """

    by = "Ctrl-C"

    def __init__(self) -> None:
        super().__init__()
        self._is_set = False
        self._woken: SimpleQueue[None] = SimpleQueue()  # its `put` is reentrant

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._is_set

    def set(self) -> None:
        """Wake who waits, for good."""
        self._is_set = True
        self._woken.put(None)

    def wait(self, timeout: float | None = None) -> bool:
        """Whether it is set, at the latest after `timeout` seconds."""
        if not self._is_set:
            with contextlib.suppress(Empty):
                self._woken.get(timeout=timeout)
                self._woken.put(None)  # for others that wait
        return self._is_set


@contextlib.contextmanager
def interruptible() -> Iterator[Interruption]:
    """An event that Ctrl-C, SIGTERM and a terminal that hangs up set; a second one of these ends
    the process at once."""
    stop = Interruption()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        if number != signal.SIGINT:
            stop.by = signal.Signals(number).name
        if number == signal.SIGHUP:
            _forget_terminal()
        stop.set()

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        numbers.append(signal.SIGHUP)
    before = [signal.signal(number, on_signal) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _forget_terminal() -> None:
    """Write no more to a terminal that is gone: each word would be an error."""
    for number in (1, 2):
        if os.isatty(number):
            os.dup2(os.open(os.devnull, os.O_WRONLY), number)


def _summary(
    workspace: Workspace, run_id: str, state: RunState, plan: Plan, tally: Counter[str]
) -> dict[str, Any]:
    cells = list(workspace.runs.cell_states(run_id).values())
    counts = {each.value: cells.count(each) for each in StepState if each in cells}
    failed = workspace.journal.rows([step.key for step in plan.misses]).values()
    return {
        "run": run_id,
        "state": state,
        "exit": EXIT_CODES[state],
        "cells": {"total": len(cells), **counts},
        "steps": {
            "total": len(plan.steps),
            "hits": len(plan.hits),
            "executed": tally["done"],
            "reused": tally["reused"],
            "failed": tally["failed"],
        },
        "failures": [
            {
                "step": row.key,
                "kind": row.kind,
                "label": row.label,
                "class": row.failure,
                "message": row.message,
            }
            for row in failed
            if row.state is StepState.FAILED
        ],
    }


def ended_text(args: argparse.Namespace, workspace: Workspace, run_id: str, state: RunState) -> str:
    """What people are shown at the end: the table of results, if any cell has some."""
    if args.json or args.no_report or state not in (RunState.SUCCEEDED, RunState.PARTIAL):
        return ""
    try:
        return table_text(workspace, run_id, Look(width=terminal_width()))
    except ThreedrsError as error:  # the run is what it is, whatever becomes of its table
        return f"run {run_id} {state}; no table: {error}"
