"""Sends what a step prints and logs to its attempt's log file.

In a worker process of its own the file descriptors are redirected, so that output of C libraries
and child processes is caught too. Where steps share a process with the supervisor (`--ray none`)
only the step's thread is redirected.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


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
    """Append all output of the current step to its log file."""
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
            stream.flush()
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
            del stream.files[me]


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
    handler.addFilter(lambda record: record.thread == me)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
