"""How far a run is: its steps by state, what runs now, what failed and why, when it may end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from threedrs_platform.compute.recorder import Progress, read_json_lines
from threedrs_platform.database.connection import Database, now
from threedrs_platform.database.journal import Journal
from threedrs_platform.database.outbox import count_open, why_open
from threedrs_platform.database.past_costs import PastCosts
from threedrs_platform.database.run_reader import RunRow
from threedrs_platform.database.runs import LEASE_S, Runs
from threedrs_platform.database.schema import attempts, cell_steps, cells, events, runs, steps
from threedrs_platform.database.turns import whole_turn
from threedrs_platform.states import AttemptState, RunState, StepState

_OPEN = (StepState.PENDING, StepState.RUNNING)
_RESUMABLE = (RunState.RUNNING, RunState.INTERRUPTED, RunState.PAUSED)
"""States of a run that somebody works on, or may go on with."""


@dataclass(frozen=True)
class RunningStep:
    """A step that is being executed."""

    key: str
    kind: str
    label: str
    cells: tuple[str, ...]
    """Titles of the cells that wait for it."""
    attempt: int
    elapsed_s: float
    progress: Progress
    note: str


@dataclass(frozen=True)
class FailedStep:
    """A step that was given up."""

    key: str
    kind: str
    label: str
    cells: tuple[str, ...]
    failure: str
    message: str
    attempts: int


@dataclass(frozen=True)
class RunProgress:
    """How far a run is at one moment."""

    run: RunRow
    cells: Mapping[StepState, int]
    steps: Mapping[StepState, int]
    cached: int
    """Succeeded steps that no attempt of this run computed."""
    running: tuple[RunningStep, ...]
    failed: tuple[FailedStep, ...]
    eta_s: float | None
    """Seconds until the end as earlier steps of the same sizes suggest; None if unknown."""
    untracked: int
    """Messages that wait for their delivery to MLflow."""
    untracked_because: str = ""
    """Why one of them could not be delivered."""
    elapsed_s: float | None = None
    """Since the submission, until its end or now; None where the clock was set back meanwhile."""
    stopped: tuple[RunningStep, ...] = ()
    """Steps that were begun, while nobody works on the run: a resume goes on with them."""
    silent_s: float | None = None
    """Since the last event of the run, or the last time that its owner renewed the lease."""


@dataclass(frozen=True)
class _Step:
    """A step of the run and the cells that use it."""

    row: Any
    cells: tuple[str, ...]


def run_progress(database: Database, run_id: str, root: Path | None = None) -> RunProgress:
    """Look at a run. Reads the database and the live files of running attempts.

    Args:
        root: the workspace's folder, which holds those files.
    """
    run = Runs(database).get(run_id)
    found = _steps(database, run.id)
    tries = _attempts(database, run.id)
    at = _clock(database)
    begun = [
        (step, _running(step, tries[step.row.key][-1], at, root))
        for step in found
        if step.row.state in _OPEN and tries.get(step.row.key)
    ]
    worked_on = run.state not in _RESUMABLE or run.has_live_owner
    running = [each for step, each in begun if worked_on and step.row.state == StepState.RUNNING]
    failed = [
        _failed(step, len(tries.get(step.row.key, ())))
        for step in found
        if step.row.state == StepState.FAILED
    ]
    computed = {key for key, rows in tries.items() if rows[-1].state == AttemptState.COMMITTED}
    done = {step.row.key for step in found if step.row.state == StepState.SUCCEEDED}
    return RunProgress(
        run=run,
        cells=_cell_states(database, run.id, worked_on),
        steps=Counter(_state(step.row.state, worked_on) for step in found),
        cached=len(done - computed),
        running=tuple(running),
        stopped=() if worked_on else tuple(each for _, each in begun),
        failed=tuple(failed),
        eta_s=_eta(database, found, running),
        untracked=count_open(database),
        untracked_because=why_open(database),
        elapsed_s=_elapsed(run, at),
        silent_s=_silent(database, run.id, at),
    )


def _state(written: str, worked_on: bool) -> StepState:
    """In the journal; what died with its supervisor waits, though nobody has written it down."""
    state = StepState(written)
    return StepState.PENDING if state is StepState.RUNNING and not worked_on else state


def _elapsed(run: RunRow, at: float) -> float | None:
    seconds = (run.finished_at or at) - run.created_at
    return seconds if seconds >= 0 else None


@whole_turn
def _silent(database: Database, run_id: str, at: float) -> float | None:
    told = select(func.max(events.c.at)).where(events.c.run_id == run_id)
    lease = select(runs.c.lease_until).where(runs.c.id == run_id)
    with database.read() as connection:
        event, until = connection.scalar(told), connection.scalar(lease)
    signs = [event, None if until is None else until - LEASE_S]
    known = [min(sign, at) for sign in signs if sign is not None]
    return at - max(known) if known else None


def _eta(
    database: Database, found: Sequence[_Step], running: Sequence[RunningStep]
) -> float | None:
    if not running:
        return None
    told = {step.key for step in running if _tells(step)}
    asked = {step.row.key: step.row.kind for step in found if step.row.state in _OPEN}
    kinds = {key: kind for key, kind in asked.items() if key not in told}
    return remaining_seconds(found, running, Journal(database).past_costs_of(kinds))


def _tells(step: RunningStep) -> bool:
    """Whether a step says itself how far it is."""
    return 0 < step.progress.done < step.progress.total


def remaining_seconds(
    found: Sequence[_Step], running: Sequence[RunningStep], past: PastCosts
) -> float | None:
    """Predicted work that is left, spread over as many attempts as run now.

    A running step that reports progress is predicted from it, the others from earlier steps of
    their kind and sizes. None if a step is left of whose sizes none has succeeded, or nothing runs.
    """
    elapsed = {step.key: step for step in running}
    total = 0.0
    for step in found:
        if step.row.state not in _OPEN:
            continue
        now = elapsed.get(step.row.key)
        if now is not None and _tells(now):
            total += now.elapsed_s * (now.progress.total / now.progress.done - 1)
            continue
        known = past.of(step.row.key)
        if known is None:
            return None
        total += max(0.0, known.seconds - (now.elapsed_s if now else 0.0))
    return total / len(running) if running else None


@whole_turn
def _steps(database: Database, run_id: str) -> list[_Step]:
    """Unique steps of a run in the order they were planned, with the titles of their cells."""
    mine = (
        (cells.c.run_id == cell_steps.c.run_id)
        & (cells.c.cell_id == cell_steps.c.cell_id)
        & (cells.c.seed == cell_steps.c.seed)
    )
    titles_of = (cells.c.name.label("cell_name"), cells.c.label.label("cell_label"), cells.c.seed)
    of_step = (steps.c.key, steps.c.kind, steps.c.label, steps.c.state, steps.c.reason)
    query = (
        select(*of_step, steps.c.failure, steps.c.message, *titles_of)
        .join(cell_steps, cell_steps.c.step_key == steps.c.key)
        .join(cells, mine)
        .where(cell_steps.c.run_id == run_id)
        .order_by(cells.c.position, steps.c.created_at)
    )
    rows: dict[str, Any] = {}
    titles: dict[str, list[str]] = {}
    with database.read() as connection:
        for row in connection.execute(query):
            rows[row.key] = row
            title = f"{row.cell_label or row.cell_name} seed {row.seed}"
            titles.setdefault(row.key, []).append(title)
    return [_Step(row, tuple(titles[key])) for key, row in rows.items()]


@whole_turn
def _attempts(database: Database, run_id: str) -> dict[str, list[Any]]:
    """Attempts of a run by step, oldest first."""
    query = select(attempts).where(attempts.c.run_id == run_id).order_by(attempts.c.n)
    by_step: dict[str, list[Any]] = {}
    with database.read() as connection:
        for row in connection.execute(query):
            by_step.setdefault(row.step_key, []).append(row)
    return by_step


def _cell_states(database: Database, run_id: str, worked_on: bool) -> Mapping[StepState, int]:
    states = Runs(database).cell_states(run_id).values()
    return Counter(_state(state, worked_on) for state in states)


@whole_turn
def _clock(database: Database) -> float:
    with database.read() as connection:
        return float(connection.scalar(select(now())) or 0.0)


def _running(step: _Step, attempt: Any, at: float, root: Path | None) -> RunningStep:
    return RunningStep(
        key=step.row.key,
        kind=step.row.kind,
        label=step.row.label,
        cells=step.cells,
        attempt=attempt.n,
        elapsed_s=max(0.0, at - attempt.started_at),
        progress=last_progress(live_file(attempt.log_file, root)),
        note=attempt.note or "",
    )


def _failed(step: _Step, tries: int) -> FailedStep:
    row = step.row
    message = (row.message or row.reason or "").strip()
    return FailedStep(row.key, row.kind, row.label, step.cells, row.failure or "", message, tries)


def live_file(log_file: str | None, root: Path | None = None) -> Path | None:
    """The file of live lines beside an attempt's log."""
    return log_place(str(Path(log_file).with_suffix(".jsonl")), root) if log_file else None


def log_place(log_file: str, root: Path | None) -> Path:
    """Where an attempt's log is now: a workspace may have been moved or copied since.

    Args:
        log_file: as it was written down, `<workspace>/logs/<folder>/<name>`.
        root: the workspace's folder today.
    """
    written = Path(log_file)
    if root is None:
        return written
    here = root / "logs" / written.parent.name / written.name
    return here if here.exists() else written


def last_progress(file: Path | None) -> Progress:
    """The newest progress line of a live file; nothing done where there is none."""
    if file is None:
        return Progress()
    lines = [line for line in read_json_lines(file) if line.get("kind") == "progress"]
    if not lines:
        return Progress()
    return Progress(lines[-1]["done"], lines[-1]["total"], lines[-1]["note"])
