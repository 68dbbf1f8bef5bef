"""`workflows logs`: what a run did, event by event, or what an attempt of a step printed."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from threedrs_platform.database.connection import Database
from threedrs_platform.database.events import RecordedEvent, read_events
from threedrs_platform.database.lineage import AttemptRow, attempts_of
from threedrs_platform.database.measurements import RunResults, StepSummary
from threedrs_platform.database.progress import log_place
from threedrs_platform.database.results import Results
from threedrs_platform.database.runs import Runs
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.states import AttemptState, RunState
from threedrs_platform.workspace import Workspace, find_workspace
from threedrs_workflows.cli.output import print_json
from threedrs_workflows.cli.run_arguments import add_run_and_more, run_and_more
from threedrs_workflows.cli.run_cells import steps_called
from threedrs_workflows.slurm.scripts import jobs_folder

SUMMARY = "the events of a run, or the output of a step's attempts"

EXAMPLES = """\
examples:
  workflows logs                              events of the newest run
  workflows logs finetune@teacher=vggt        last attempt of this step, for every seed
  workflows logs RUN 3f9a12bc --attempt 1     the first attempt of a step, by its key
  workflows logs RUN --slurm                  what its Slurm jobs printed
  workflows logs finetune@teacher=vggt -f     go on until the attempt ends
"""

FOLLOW_S = 0.5
SHOWN_DIGITS, SHOWN_MESSAGE = 12, 300
"""Characters of digests and of messages in an event's line."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    add_run_and_more(
        parser, "step", "STEP[@CELL]", "?", "a kind, role or key; default: the run's events"
    )
    parser.add_argument("--attempt", type=int, metavar="N", help="default: the last")
    parser.add_argument("--slurm", action="store_true", help="what the run's Slurm jobs printed")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until it ends")


def run(args: argparse.Namespace) -> int:
    """Print events or logs."""
    run_id, more = run_and_more(args, args.step)
    if len(more) > 1:
        raise ConfigError([Fault(f"one step at a time, not {' and '.join(more)}", "STEP")])
    with find_workspace(args.workspace, args.db, with_runs=True) as workspace:
        results, step = _chosen(Results(workspace.database), run_id, more[0] if more else None)
        if args.slurm:
            _job_logs(args, workspace.root, results.run.run_id)
        elif step is None:
            _events(args, workspace.database, results.run.run_id)
        else:
            _logs(args, workspace, steps_called(results, step))
    return 0


def _chosen(store: Results, run: str | None, step: str | None) -> tuple[RunResults, str | None]:
    """Run and step; a single argument that names no run may name a step of the newest one."""
    try:
        return store.run_results(store.find_run(run).run_id), step
    except ConfigError:
        if run is None or step is not None:
            raise
        newest = store.run_results(store.find_run().run_id)
        try:
            steps_called(newest, run)
        except ConfigError as error:
            fault = Fault(f"no run is called {run!r}, and {error}")
            raise ConfigError([fault]) from None
        return newest, run


def _events(args: argparse.Namespace, database: Database, run_id: str) -> None:
    if args.json and not args.follow:
        content = [event.as_json() for event in read_events(database, run_id)]
        print_json("logs", {"run": run_id, "events": content})
        return
    last = 0
    while True:
        over = not _is_worked_on(database, run_id)
        for event in read_events(database, run_id, last):
            print(_event_line(event), flush=args.follow)
            last = event.seq
        if over or not args.follow:
            return
        time.sleep(FOLLOW_S)


def _job_logs(args: argparse.Namespace, root: Path, run_id: str) -> None:
    files = sorted(jobs_folder(root, run_id).glob("*.log"), key=lambda file: file.stat().st_mtime)
    texts = {str(file): file.read_text(encoding="utf-8", errors="replace") for file in files}
    if args.json:
        jobs = [{"log_file": file, "text": text} for file, text in texts.items()]
        print_json("logs", {"run": run_id, "jobs": jobs})
        return
    for file, text in texts.items():
        print(f"==> {file} <==\n{text.rstrip()}")
    if not texts:
        print(f"no Slurm job of run {run_id} has printed anything")


def _is_worked_on(database: Database, run_id: str) -> bool:
    """Whether more is to come: a run whose supervisor died stays "running" in the journal."""
    run = Runs(database).get(run_id)
    return run.state is RunState.RUNNING and run.has_live_owner


def _event_line(event: RecordedEvent) -> str:
    clock = time.strftime("%H:%M:%S", time.localtime(event.at))
    step = f" {event.step_key[:SHOWN_DIGITS]}" if event.step_key else ""
    told = {name: value for name, value in event.payload.items() if value not in ("", None)}
    details = " ".join(f"{name}={_short(name, value)}" for name, value in told.items())
    return f"{clock} {event.type}{step} {details}".rstrip()


def _short(name: str, value: Any) -> str:
    text = str(value)
    longest = SHOWN_DIGITS if name in ("digest", "from") else SHOWN_MESSAGE
    return text if len(text) <= longest else f"{text[:longest]}..."


def _logs(
    args: argparse.Namespace,
    workspace: Workspace,
    steps: Sequence[tuple[StepSummary, list[str]]],
) -> None:
    tries = _attempts(workspace, [step.key for step, _ in steps])
    chosen = [
        (step, cells, _pick(tries.get(step.key, ()), args.attempt, step)) for step, cells in steps
    ]
    if args.follow and len(chosen) > 1:
        keys = ", ".join(step.key[:12] for step, _ in steps)
        raise ConfigError([Fault(f"{len(chosen)} steps are meant; follow one of {keys}")])
    if args.json:
        print_json("logs", {"logs": [_content(*each) for each in chosen]})
        return
    for step, cells, attempt in chosen:
        if len(chosen) > 1:
            print(f"==> {_title(step, cells, attempt)} <==")
        if attempt is None:
            print(f"no attempt of {step.role} {step.key[:12]} yet: it is {step.state}")
        elif args.follow:
            _follow(workspace, step.key, attempt)
        else:
            print(_text(attempt).rstrip("\n"))


def _attempts(workspace: Workspace, keys: Sequence[str]) -> dict[str, list[AttemptRow]]:
    """Attempts by step, with their logs where they are in this workspace."""
    return {
        key: [
            replace(each, log_file=str(log_place(each.log_file, workspace.root))) for each in tries
        ]
        for key, tries in attempts_of(workspace.database, keys).items()
    }


def _pick(tries: Sequence[AttemptRow], wanted: int | None, step: StepSummary) -> AttemptRow | None:
    if wanted is None:
        return tries[-1] if tries else None
    for attempt in tries:
        if attempt.n == wanted:
            return attempt
    known = ", ".join(str(attempt.n) for attempt in tries) or "none"
    message = f"step {step.key[:12]} has no attempt {wanted}; known: {known}"
    raise ConfigError([Fault(message, path="--attempt")])


def _title(step: StepSummary, cells: Iterable[str], attempt: AttemptRow | None) -> str:
    which = f", attempt {attempt.n} {attempt.state}" if attempt else ""
    return f"{step.role} {step.key[:12]} of {', '.join(cells)}{which}"


def _content(step: StepSummary, cells: list[str], attempt: AttemptRow | None) -> dict[str, Any]:
    return {
        "step": step.key,
        "role": step.role,
        "cells": cells,
        "attempt": attempt.n if attempt else None,
        "state": str(attempt.state) if attempt else str(step.state),
        "log_file": attempt.log_file if attempt else None,
        "text": _text(attempt) if attempt else "",
    }


def _text(attempt: AttemptRow) -> str:
    """What the attempt and its ranks printed, or why that cannot be shown here."""
    file = Path(attempt.log_file)
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
        for each in sorted(file.parent.glob(f"{file.stem}.rank-*.log"), key=_number):
            if printed := each.read_text(encoding="utf-8", errors="replace"):
                text += f"==> rank {_number(each)} <==\n{printed}"
    except OSError as error:
        place = f"{attempt.log_file} on {attempt.node or 'another machine'}"
        text = f"the log cannot be read ({error.strerror}): {place}\n"
    return text or (f"{attempt.message}\n" if attempt.message else "nothing was printed\n")


def _number(log: Path) -> int:
    return int(log.stem.rpartition("-")[2])


def _follow(workspace: Workspace, key: str, attempt: AttemptRow) -> None:
    offset = 0
    while True:
        current = next(each for each in _attempts(workspace, [key])[key] if each.n == attempt.n)
        running = current.state is AttemptState.RUNNING
        over = not (running and _is_worked_on(workspace.database, attempt.run_id))
        file = Path(attempt.log_file)
        if file.exists():
            with file.open("rb") as log:
                log.seek(offset)
                added = log.read()
            offset += len(added)
            sys.stdout.write(added.decode("utf-8", errors="replace"))
            sys.stdout.flush()
        if over:
            return
        time.sleep(FOLLOW_S)
