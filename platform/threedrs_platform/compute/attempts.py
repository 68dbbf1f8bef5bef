"""One execution of a step, wherever it runs: check inputs out, call the step, publish the result.

This is the only code that runs on the far side of Ray. It takes and returns plain values, and
reports every failure as a value too.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import re
import resource
import shutil
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from threedrs_platform.compute.recorder import CurvePoint, Recorder, StepCancelled, captured_output
from threedrs_platform.errors import (
    ArtifactError,
    CheckpointError,
    ConfigError,
    DataError,
    StepFailed,
    StorageError,
    ThreedrsError,
)
from threedrs_platform.identity.source_code import pin_code
from threedrs_platform.records import Metric, SampleScore
from threedrs_platform.shown_urls import without_secrets
from threedrs_platform.states import FailureClass
from threedrs_platform.steps import JSON, Resources, StepTask
from threedrs_platform.storage import storage_error, storage_errors
from threedrs_platform.store.artifacts import ArtifactStore
from threedrs_platform.store.open import open_store

MESSAGE_LENGTH = 2000


@dataclass(frozen=True)
class StoreAddress:
    """How a worker opens the artifact store."""

    url: str
    cache: str


@dataclass(frozen=True)
class AttemptRequest:
    """All a worker needs to execute one attempt."""

    step_key: str
    attempt: int
    kind: str
    label: str
    entry: str
    code: str
    """Digest of the project modules that the step was planned with."""
    code_cache: str
    params: Mapping[str, JSON]
    settings: Mapping[str, JSON]
    inputs: Mapping[str, str]
    """Artifact digest by input name."""
    resources: Resources
    store: StoreAddress
    scratch: str
    """Folder of this step; outlives the attempt."""
    log_file: str
    live_file: str
    own_process: bool = False
    """Whether the process executes nothing but this, so that all its output is the step's."""
    modules: tuple[str, ...] = ()
    """Of the components that the parameters choose: their code is part of the digest."""


@dataclass(frozen=True)
class AttemptReport:
    """What became of an attempt."""

    digest: str | None = None
    """The published artifact; None if the attempt failed."""
    size: int = 0
    files: int = 0
    failure: FailureClass | None = None
    message: str = ""
    bad_inputs: tuple[str, ...] = ()
    """Names of inputs whose artifact is missing or corrupt: not this step's fault."""
    cancelled: bool = False
    seconds: float = 0.0
    cpu_s: float = 0.0
    gpu_s: float = 0.0
    max_rss: int = 0
    node: str = ""
    pid: int = 0
    metrics: tuple[Metric, ...] = ()
    scores: tuple[SampleScore, ...] = ()
    curves: tuple[CurvePoint, ...] = ()
    warnings: tuple[str, ...] = field(default=())


class _BadInputs(Exception):
    def __init__(self, names: tuple[str, ...], message: str) -> None:
        self.names = names
        super().__init__(message)


def execute(
    request: AttemptRequest, is_cancelled: Callable[[], bool] = lambda: False
) -> AttemptReport:
    """Run one attempt to its end and report; raises nothing but what ends the process."""
    # The thread's time, not the process's: with `--ray none` steps share a process.
    began, cpu = time.monotonic(), time.thread_time()
    recorder: Recorder | None = None
    try:
        with storage_errors(f"write the log {request.log_file}"):
            Path(request.log_file).parent.mkdir(parents=True, exist_ok=True)
            Path(request.scratch).mkdir(parents=True, exist_ok=True)
            curve_file = Path(request.scratch) / "curves.jsonl"
            recorder = Recorder(Path(request.live_file), curve_file, is_cancelled)
        with captured_output(Path(request.log_file), request.own_process):
            report = _execute(request, recorder)
    except BaseException as error:  # every failure becomes a value: the supervisor decides
        report = _failure_report(error)
        _append_traceback(Path(request.log_file))
    seconds = time.monotonic() - began
    return replace(
        report,
        node=socket.gethostname(),
        pid=os.getpid(),
        seconds=seconds,
        cpu_s=time.thread_time() - cpu,
        gpu_s=seconds * request.resources.gpus,
        max_rss=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,  # Linux counts KiB
        warnings=tuple(recorder.warnings) if recorder else (),
    )


def _execute(request: AttemptRequest, recorder: Recorder) -> AttemptReport:
    store = _open_store(request.store)
    scratch = Path(request.scratch)
    out = scratch / f"out-{request.attempt}"
    inputs = _checkout(store, request.inputs)
    with _step_folders(scratch, out) as work:
        pin_code(request.entry, request.code, Path(request.code_cache), request.modules)
        function = load_entry(request.entry)
        settings = dict(request.settings)
        function(StepTask(dict(request.params), inputs, out, work, recorder, settings))
        published = store.publish(out)
    return AttemptReport(
        published.digest,
        published.size,
        published.files,
        metrics=tuple(recorder.metrics),
        scores=tuple(recorder.scores),
        curves=tuple(recorder.curves),
    )


def load_entry(entry: str) -> Callable[[StepTask], None]:
    """The step function that `package.module:function` names.

    Raises:
        StepFailed: there is no such function.
    """
    module, _, name = entry.partition(":")
    function = getattr(importlib.import_module(module), name, None)
    if not callable(function):
        raise StepFailed(f"step entry {entry!r}: module {module} has no function {name!r}")
    found: Callable[[StepTask], None] = function
    return found


@lru_cache(maxsize=4)
def _open_store(address: StoreAddress) -> ArtifactStore:
    return open_store(address.url, Path(address.cache))


def _checkout(store: ArtifactStore, inputs: Mapping[str, str]) -> dict[str, Path]:
    folders, bad, reasons = {}, [], []
    for name, digest in inputs.items():
        try:
            folders[name] = store.checkout(digest)
        except ArtifactError as error:
            bad.append(name)
            reasons.append(f"input {name}: {error}")
    if bad:
        raise _BadInputs(tuple(bad), "; ".join(reasons))
    return folders


@contextlib.contextmanager
def _step_folders(scratch: Path, out: Path) -> Iterator[Path]:
    """An empty output folder, removed again on failure, and the step's lasting work folder."""
    work = scratch / "work"
    with storage_errors(f"create {out}"):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        work.mkdir(exist_ok=True)
    try:
        yield work
    finally:
        shutil.rmtree(out, ignore_errors=True)


def _failure_report(error: BaseException) -> AttemptReport:
    if isinstance(error, StepCancelled):
        return AttemptReport(cancelled=True, message="cancelled")
    if isinstance(error, _BadInputs):
        return AttemptReport(failure=FailureClass.INFRA, message=str(error), bad_inputs=error.names)
    return AttemptReport(failure=classify(error), message=describe(error))


def classify(error: BaseException) -> FailureClass:
    """The class of a failure, which decides whether the step is tried again."""
    if isinstance(error, StepFailed):
        return FailureClass(error.failure)
    if isinstance(error, StorageError):
        return FailureClass.STORAGE
    if isinstance(error, DataError | CheckpointError | ConfigError):
        return FailureClass.DATA
    if is_out_of_memory(error):
        return FailureClass.OOM
    if _storage_fault(error, "") is not None:
        return FailureClass.STORAGE
    if isinstance(error, ConnectionError | TimeoutError):
        return FailureClass.INFRA
    return FailureClass.BUG


def _storage_fault(error: BaseException, doing: str) -> StorageError | None:
    """What storage is to blame for, in an OSError or in the text of one that passed through Rust.

    safetensors and Arrow tell of a full disk as `I/O error: ... (os error 28)` in errors of theirs.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return storage_error(error, doing)
    found = re.search(r"\(os error (\d+)\)", str(error))
    return storage_error(OSError(int(found[1]), ""), doing) if found else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory of host or device ran out; torch's error is known by name, not imported."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error)
    return isinstance(error, RuntimeError) and (
        "CUDA out of memory" in text or "can't allocate memory" in text
    )


def describe(error: BaseException) -> str:
    """A failure in one line: what, and for foreign errors where."""
    text = without_secrets(str(error)) or type(error).__name__
    if isinstance(error, ThreedrsError):
        return text[:MESSAGE_LENGTH]
    if (translated := _storage_fault(error, "write")) is not None:
        place = getattr(error, "filename", None)
        return (f"{translated} ({place})" if place else str(translated))[:MESSAGE_LENGTH]
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{where}"[:MESSAGE_LENGTH]


def _append_traceback(log_file: Path) -> None:
    """Keep the traceback in the log; if the log itself is the trouble, the message must do."""
    with contextlib.suppress(OSError), log_file.open("a", encoding="utf-8") as file:
        file.write(without_secrets(traceback.format_exc()))
