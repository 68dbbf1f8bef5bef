"""A run as it goes on: a live picture on a terminal, else one line per event. All on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from threedrs_platform.compute.recorder import Progress
from threedrs_platform.states import RunState, StepState
from threedrs_workflows.engine.observer import Observer
from threedrs_workflows.engine.schedule import Phase, Schedule
from threedrs_workflows.plan.plan import PlannedStep

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

PROGRESS_LINE_S = 5.0
"""How often a step says how far it is where there is no live picture."""
PROGRESS_SHARE = 0.1
"""A long step speaks less often: once in this share of its time so far."""
LIVE_REFRESHES_PER_S = 4
QUIET_EVENTS = {"started", "reused", "waiting"}


def open_display(quiet: bool, stream: TextIO | None = None) -> Observer:
    """The display that fits the stream, by default stderr."""
    if quiet:
        return Observer()
    stream = stream or sys.stderr
    return LiveDisplay(stream) if stream.isatty() else PlainDisplay(stream)


def progress_text(progress: Progress) -> str:
    """`120/350 loss 1.83`, or only the note while nothing can be counted."""
    count = f"{progress.done}/{progress.total}" if progress.total else ""
    return f"{count} {progress.note}".strip()


def clock(seconds: float) -> str:
    """Seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@dataclass
class RunOverview:
    """The run as a display shows it: which steps run since when, and a line of counts."""

    run_id: str = ""
    schedule: Schedule | None = None
    began: float = field(default_factory=time.monotonic)
    running: dict[str, tuple[PlannedStep, float, Progress]] = field(default_factory=dict)

    def note(self, step: PlannedStep, what: str) -> None:
        """Note an event of a step, to know which steps run."""
        if what == "started":
            self.running[step.key] = (step, time.monotonic(), Progress())
        elif what != "warning":
            self.running.pop(step.key, None)

    def name(self, step: PlannedStep) -> str:
        """`finetune of vggt, seed 2`; a step that cells share is not called by any of them."""
        whose = self.schedule.whose(step.key) if self.schedule is not None else ""
        return f"{step.name} of {whose}" if whose else step.name

    def head(self) -> str:
        """Counts of cells and steps, elapsed time and what is left of it."""
        if self.schedule is None:
            return ""
        counts, cells = self.schedule.counts(), list(self.schedule.cells.values())
        finished = sum(state is not StepState.PENDING for state in cells)
        lost = sum(state in (StepState.FAILED, StepState.BLOCKED) for state in cells)
        parts = [
            f"cells {finished}/{len(cells)}" + (f" ({lost} failed)" if lost else ""),
            f"steps {counts[Phase.DONE]}/{sum(counts.values())} ({self.schedule.hits} were done)",
            f"elapsed {clock(time.monotonic() - self.began)}",
        ]
        failed = counts[Phase.FAILED]
        if failed:
            parts.insert(2, f"{failed} failed, {counts[Phase.BLOCKED]} blocked")
        left = self._seconds_left()
        if left is not None:
            parts.append(f"about {clock(left)} left")
        return ", ".join(parts)

    def _seconds_left(self) -> float | None:
        """Remaining work over the speed at which work is done now."""
        assert self.schedule is not None
        work = self.schedule.remaining_seconds()
        if work is None or not self.running:
            return None
        spent = sum(
            min(time.monotonic() - began, step.seconds or 0.0)
            for step, began, _ in self.running.values()
        )
        return max(work - spent, 0.0) / len(self.running)


class PlainDisplay(Observer):
    """One line per event, for logs."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._overview = stream, RunOverview()
        self._last_line: dict[str, float] = {}

    def started(self, run_id: str, schedule: Schedule) -> None:
        """Print the run's id and counts."""
        self._overview = RunOverview(run_id, schedule)
        self._say(f"run {run_id}: {self._overview.head()}")

    def step(self, step: PlannedStep, what: str, message: str = "") -> None:
        """Print an event, with the counts of the run when a step has ended."""
        self._overview.note(step, what)
        shared = f" (for {step.cells} cells)" if step.cells > 1 and what == "started" else ""
        line = f"{what:8} {self._overview.name(step)}{shared}" + (f": {message}" if message else "")
        if what in ("done", "failed"):
            line += f"   [{self._overview.head()}]"
        self._say(line)

    def progress(self, step: PlannedStep, progress: Progress) -> None:
        """Print how far a long step is, now and then."""
        now = time.monotonic()
        began = self._overview.running.get(step.key, (step, now, progress))[1]
        pause = max(PROGRESS_LINE_S, PROGRESS_SHARE * (now - began))
        if now - self._last_line.get(step.key, began) >= pause:
            self._last_line[step.key] = now
            self._say(f"running  {self._overview.name(step)}: {progress_text(progress)}")

    def warning(self, message: str) -> None:
        """Print the message."""
        self._say(f"warning  {message}")

    def finished(self, state: RunState) -> None:
        """Print the state of the run and its counts."""
        self._say(f"run {self._overview.run_id} {state}: {self._overview.head()}")

    def _say(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # nobody reads on (`| head`); the run goes on
            print(line, file=self._stream, flush=True)


class LiveDisplay(Observer):
    """A picture at the bottom of the terminal: counts, and a bar for each running step."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console

        self._console = Console(file=stream)
        self._overview = RunOverview()
        self._live: Live | None = None

    def started(self, run_id: str, schedule: Schedule) -> None:
        """Begin to draw."""
        from rich.live import Live

        self._overview = RunOverview(run_id, schedule)
        self._live = Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=LIVE_REFRESHES_PER_S,
            transient=True,
        )
        self._live.start()

    def step(self, step: PlannedStep, what: str, message: str = "") -> None:
        """Move the step's bar in or out; print what should stay readable above the picture."""
        self._overview.note(step, what)
        if what not in QUIET_EVENTS:
            name = self._overview.name(step)
            self._say(f"{what:8} {name}" + (f": {message}" if message else ""))

    def progress(self, step: PlannedStep, progress: Progress) -> None:
        """Move the step's bar."""
        if step.key in self._overview.running:
            _, began, _ = self._overview.running[step.key]
            self._overview.running[step.key] = (step, began, progress)

    def warning(self, message: str) -> None:
        """Print the message above the picture."""
        self._say(f"warning  {message}")

    def finished(self, state: RunState) -> None:
        """Stop drawing."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._say(f"run {self._overview.run_id} {state}: {self._overview.head()}")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _draw(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 1))
        for step, began, progress in list(self._overview.running.values()):
            total = progress.total or None
            bar = ProgressBar(total, progress.done, width=20, pulse=total is None)
            elapsed = clock(time.monotonic() - began)
            text = progress_text(progress)
            table.add_row(Text(self._overview.name(step)), bar, Text(elapsed), Text(text))
        return Group(table, Text(self._overview.head(), style="bold"))
