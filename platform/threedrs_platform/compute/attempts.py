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
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from threedrs_platform.compute.finished import (
    Finished,
    finished_work,
    keep_finished,
    read_finished,
)
from threedrs_platform.compute.inputs import BadInputs, Inputs
from threedrs_platform.compute.recorder import CurvePoint, Recorder, StepCancelled, captured_output
from threedrs_platform.compute.scratch import attempt_folders
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
from threedrs_platform.memory import is_out_of_memory
from threedrs_platform.records import Metric, SampleScore
from threedrs_platform.shown_urls import without_secrets
from threedrs_platform.states import FailureClass
from threedrs_platform.steps import JSON, Resources, StepTask
from threedrs_platform.storage import storage_error, storage_errors
from threedrs_platform.store.artifacts import ArtifactStore
from threedrs_platform.store.open import StoreAddress, open_store

_CAME_UP_SHORT = re.compile(
    r"inline_container\.cc.*(unexpected pos|file write failed)|basic_ios::clear: iostream error"
    r"|^\d+ requested and \d+ written$"
)
"""What torch's zip writer and numpy say of a file that could not be written whole."""
MESSAGE_LENGTH = 2000


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
    """Folder of this step; outlives the attempt, which makes a folder of its own in it."""
    log_file: str
    live_file: str
    own_process: bool = False
    """Whether the process executes nothing but this, so that all its output is the step's."""
    fresh_process: bool = False
    """Whether a process that has executed anything before will not do: memory ran out there."""
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
            recorder = Recorder(Path(request.live_file), is_cancelled)
        with captured_output(Path(request.log_file), request.own_process):
            report = _execute(request, recorder)
    except BaseException as error:  # every failure becomes a value: the supervisor decides
        if is_out_of_memory(error):  # what the step holds is needed to say so
            traceback.clear_frames(error.__traceback__)
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
    finished = _share_finished(request, store) or _work(request, recorder, store)
    recorder.warnings[:] = finished.warnings
    return AttemptReport(
        finished.published.digest,
        finished.published.size,
        finished.published.files,
        metrics=finished.metrics,
        scores=finished.scores,
        curves=finished.curves,
    )


def _share_finished(request: AttemptRequest, store: ArtifactStore) -> Finished | None:
    """Share what an earlier attempt finished and could not share, if there is such a thing."""
    finished = read_finished(Path(request.scratch), request.code) if store.is_remote else None
    if finished is not None:
        try:
            store.share(finished.published.digest)
        except ArtifactError:  # its files are gone or damaged
            return None
    return finished


def _work(request: AttemptRequest, recorder: Recorder, store: ArtifactStore) -> Finished:
    """Call the step; before its result goes elsewhere it is kept here, so that it is made once."""
    scratch = Path(request.scratch)
    inputs = Inputs(store, request.inputs, scratch, request.attempt)
    with inputs.checked_out() as folders, attempt_folders(scratch, request.attempt) as (out, work):
        pin_code(request.entry, request.code, Path(request.code_cache), request.modules)
        function = load_entry(request.entry)
        settings = dict(request.settings)
        log_file = Path(request.log_file)
        task = StepTask(dict(request.params), folders, out, work, recorder, settings, log_file)
        with inputs.read_unchanged():
            function(task)
        finished = finished_work(request.code, store.take(out), recorder)
    if store.is_remote:
        keep_finished(scratch, finished)
        store.share(finished.published.digest)
    return finished


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
    # Who sent this attempt has met the store already.
    return open_store(address.url, Path(address.cache), True, address.cache_bytes)


def _failure_report(error: BaseException) -> AttemptReport:
    if isinstance(error, StepCancelled):
        return AttemptReport(cancelled=True, message="cancelled")
    if isinstance(error, BadInputs) and not error.names:  # sound ones are there again
        return AttemptReport(cancelled=True, message=str(error))
    if isinstance(error, BadInputs):
        return AttemptReport(failure=FailureClass.INFRA, message=str(error), bad_inputs=error.names)
    return AttemptReport(failure=classify(error), message=describe(error))


def classify(error: BaseException) -> FailureClass:
    """The class of a failure, which decides whether the step is tried again."""
    if isinstance(error, StepFailed):
        return FailureClass(error.failure)
    if isinstance(error, StorageError) or _full_disk(error, "") is not None:
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
    """What storage is to blame for."""
    if isinstance(error, OSError) and (found := storage_error(error, doing)) is not None:
        return found
    return _full_disk(error, doing)


def _full_disk(error: BaseException, doing: str) -> StorageError | None:
    """A disk that took no more, wherever in an error's chain of causes a library says so.

    safetensors tells of it as `I/O error: ... (os error 28)`, torch and numpy write that they came
    up short, not why.
    """
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__ or link.__context__
    for each in links:
        number = each.errno if isinstance(each, OSError) else None
        text = str(each)
        if number is None and (found := re.search(r"\((?:os error|errno) (\d+)\)", text)):
            number = int(found[1])
        for code in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            if number == code or (number is None and os.strerror(code) in text):
                return storage_error(OSError(code, ""), doing)
    if any(_CAME_UP_SHORT.search(str(each)) for each in links):
        return StorageError(f"cannot {doing}: the disk took only a part of a file; is it full?")
    return None


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
