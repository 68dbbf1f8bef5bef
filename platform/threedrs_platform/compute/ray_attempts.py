"""What a Ray task executes, and what is reported of one that ended without a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from threedrs_platform.compute.attempts import AttemptReport, AttemptRequest, execute
from threedrs_platform.compute.in_process import Handle
from threedrs_platform.memory import MemoryMarks, is_out_of_memory, memory_killed, memory_marks
from threedrs_platform.states import FailureClass
from threedrs_platform.steps import Resources


def run_attempts(requests: Sequence[AttemptRequest]) -> list[AttemptReport]:
    """The Ray task: one attempt in a worker process of its own, or several short ones in turn."""
    return [execute(replace(request, own_process=True)) for request in requests]


@dataclass(frozen=True)
class Task:
    """What one Ray task executes."""

    handles: tuple[Handle, ...]
    resources: Resources
    kind: str
    marks: MemoryMarks
    """Of this machine, when it was submitted."""


def loss_report(exceptions: Any, error: Exception, before: MemoryMarks) -> AttemptReport:
    """The report of an attempt whose process ended without one.

    Args:
        exceptions: Ray's.
        error: what Ray says of the task.
        before: counters of this machine when it was submitted.
    """
    reason = str(error).strip().partition("\n")[0]
    if isinstance(error, exceptions.OutOfMemoryError):
        return AttemptReport(failure=FailureClass.OOM, message=reason)
    if isinstance(error, exceptions.RayTaskError):
        is_hungry = is_out_of_memory(error.cause) if error.cause else False
        failure = FailureClass.OOM if is_hungry else FailureClass.BUG
        return AttemptReport(failure=failure, message=str(error.cause or reason))
    message = f"{type(error).__name__}: {reason}"
    # What happened on another machine is in none of our counters; Ray's own watch is.
    if killed := memory_killed(before, memory_marks(), None):
        return AttemptReport(failure=FailureClass.OOM, message=f"{message}; {killed}")
    return AttemptReport(failure=FailureClass.INFRA, message=message)
