"""What a running step says: its reports, as live lines for watchers and as values for the commit,
and its output, which goes to the log file of its attempt.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from threedrs_platform.records import Metric, SampleScore

MIN_SECONDS_BETWEEN_PROGRESS = 0.1
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_log = logging.getLogger(__name__)
_log.setLevel(logging.INFO)


class StepCancelled(BaseException):
    """Raised inside a step at its next report once its attempt has been cancelled.

    Not an `Exception`, so that a step's own `except Exception` does not swallow it.
    """


@dataclass(frozen=True)
class CurvePoint:
    """One value of one training curve."""

    step: int
    name: str
    value: float


@dataclass(frozen=True)
class Progress:
    """How far a running attempt is."""

    done: int = 0
    total: int = 0
    note: str = ""


@dataclass
class Recorder:
    """Recorder of one attempt. Without files it keeps everything in memory (tests, notebooks)."""

    live_file: Path | None = None
    """JSON lines: progress, warnings and curve points while the step runs."""
    is_cancelled: Callable[[], bool] = lambda: False
    metrics: list[Metric] = field(default_factory=list)
    scores: list[SampleScore] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _curves: dict[tuple[int, str], float] = field(default_factory=dict)
    _last_write: float = 0.0

    def progress(self, done: int, total: int, note: str) -> None:
        """Write a progress line, at most ten a second and always the last."""
        self._stop_if_cancelled()
        now = time.monotonic()
        if done < total and now - self._last_write < MIN_SECONDS_BETWEEN_PROGRESS:
            return
        self._last_write = now
        self._write_live(kind="progress", done=done, total=total, note=note)

    def metric(self, metric: Metric) -> None:
        """Keep a metric; its name must be new."""
        if any(known.name == metric.name for known in self.metrics):
            raise ValueError(f"metric {metric.name} is reported twice by one step")
        self.metrics.append(metric)

    def sample_scores(self, scores: Iterable[SampleScore]) -> None:
        """Keep per-sample scores."""
        self.scores.extend(scores)

    def curve(self, step: int, values: Mapping[str, float]) -> None:
        """Keep curve points, show them live and in the attempt's log."""
        self._stop_if_cancelled()
        plain = {name: float(value) for name, value in values.items()}
        told = ", ".join(f"{name} {value:.4g}" for name, value in plain.items())
        _log.info("step %d: %s", step, told)
        self._curves |= {(step, name): value for name, value in plain.items()}
        self._write_live(kind="curve", step=step, values=plain)

    def warn(self, message: str) -> None:
        """Keep a warning and show it live."""
        self.warnings.append(message)
        self._write_live(kind="warning", message=message)

    @property
    def curves(self) -> list[CurvePoint]:
        """All curve points in order of step and name."""
        return [
            CurvePoint(step, name, self._curves[step, name]) for step, name in sorted(self._curves)
        ]

    def _stop_if_cancelled(self) -> None:
        if self.is_cancelled():
            raise StepCancelled

    def _write_live(self, **line: Any) -> None:
        if self.live_file is not None:
            _append_line(self.live_file, {"time": time.time(), **line})


def cut_off_torn_line(path: Path) -> None:
    """Remove what a killed writer left behind the last line end, or the next line would join it."""
    if path.exists():
        content = path.read_bytes()
        keep = content.rfind(b"\n") + 1
        if keep != len(content):
            os.truncate(path, keep)


def _append_line(path: Path, line: Mapping[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, separators=(",", ":")) + "\n")


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Complete lines of a JSON-lines file; a last line cut off by a crash is left out."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    complete = text[: text.rfind("\n") + 1]
    return [json.loads(line) for line in complete.splitlines()]


@dataclass
class LiveTail:
    """Reads the lines that were added to a live file since the last look."""

    path: Path
    _offset: int = 0

    def new_lines(self) -> list[dict[str, Any]]:
        """Complete new lines, oldest first; empty while the file does not exist."""
        try:
            with self.path.open("rb") as file:
                file.seek(self._offset)
                added = file.read()
        except FileNotFoundError:
            return []
        complete = added[: added.rfind(b"\n") + 1]
        self._offset += len(complete)
        return [found for line in complete.split(b"\n") if (found := _live_line(line)) is not None]


def _live_line(line: bytes) -> dict[str, Any] | None:
    """What a live line says; a damaged one is no reason to end a run, it only shows less."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


class ThreadOutput:
    """A text stream that writes to the file of the current thread, if it has one."""

    def __init__(self, original: TextIO) -> None:
        self.original = original
        self.files: dict[int, TextIO] = {}

    def write(self, text: str) -> int:
        """Write to the thread's file or to the original stream."""
        return self._target().write(text)

    def flush(self) -> None:
        """Flush the thread's file or the original stream."""
        self._target().flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)

    def _target(self) -> TextIO:
        return self.files.get(threading.get_ident(), self.original)


@contextlib.contextmanager
def captured_output(log_file: Path, own_process: bool) -> Iterator[None]:
    """Append all output of the current step to its log file.

    In a worker process of its own the file descriptors are redirected, so that output of C
    libraries and child processes is caught, too. Where steps share a process with the supervisor
    (`--ray none`) only the step's thread is redirected.
    """
    with log_file.open("a", encoding="utf-8", buffering=1) as file, _logging_to(file):
        if own_process:
            with _redirected_process(file):
                yield
        else:
            with _redirected_thread(file):
                yield


@contextlib.contextmanager
def _redirected_process(file: TextIO) -> Iterator[None]:
    saved = [os.dup(1), os.dup(2)]
    try:
        for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
            stream.flush()  # or what others have printed would land in this step's log
            os.dup2(file.fileno(), number)
        with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
            yield
    finally:
        file.flush()
        for number, original in zip((1, 2), saved, strict=True):
            os.dup2(original, number)
            os.close(original)


@contextlib.contextmanager
def _redirected_thread(file: TextIO) -> Iterator[None]:
    streams = [_thread_output("stdout"), _thread_output("stderr")]
    me = threading.get_ident()
    for stream in streams:
        stream.files[me] = file
    try:
        yield
    finally:
        for stream in streams:
            stream.files.pop(me, None)  # under --json both are one stream


def _thread_output(name: str) -> ThreadOutput:
    """The stream, wrapped once; the wrapper stays, for other threads may be using it."""
    stream = getattr(sys, name)
    if not isinstance(stream, ThreadOutput):
        stream = ThreadOutput(stream)
        setattr(sys, name, stream)
    return stream


@contextlib.contextmanager
def _logging_to(file: TextIO) -> Iterator[None]:
    """Send log records of the current thread to a file."""
    me = threading.get_ident()
    handler = logging.StreamHandler(file)
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    handler.addFilter(lambda record: record.thread == me)  # other threads run other steps
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
