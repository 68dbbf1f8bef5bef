"""States of steps, cells and runs, and the moves between them that are legal."""

from __future__ import annotations

from enum import StrEnum


class StepState(StrEnum):
    """Life of one step in the journal."""

    PENDING = "pending"
    """Waits for its inputs."""
    RUNNING = "running"
    """Claimed under a lease; an attempt executes."""
    SUCCEEDED = "succeeded"
    """Committed: its output digest is final."""
    FAILED = "failed"
    """Its retries are used up."""
    BLOCKED = "blocked"
    """An input failed."""
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether a run need not wait for this step any longer."""
        return self not in (StepState.PENDING, StepState.RUNNING)


class AttemptState(StrEnum):
    """Outcome of one execution of a step."""

    RUNNING = "running"
    COMMITTED = "committed"
    FAILED = "failed"
    LOST = "lost"
    """Its owner died, or its commit came after another owner had taken the step."""


class RunState(StrEnum):
    """Life of one submission."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    """Finished; some cells failed."""
    FAILED = "failed"
    """Finished; no cell succeeded."""
    CANCELLED = "cancelled"


class FailureClass(StrEnum):
    """Why an attempt failed; decides whether and how it is tried again."""

    BUG = "bug"
    DATA = "data"
    OOM = "oom"
    INFRA = "infra"
    STORAGE = "storage"


LEGAL_STEP_MOVES: dict[StepState, frozenset[StepState]] = {
    StepState.PENDING: frozenset(
        {StepState.RUNNING, StepState.BLOCKED, StepState.CANCELLED, StepState.SUCCEEDED}
    ),
    StepState.RUNNING: frozenset(
        {StepState.SUCCEEDED, StepState.FAILED, StepState.PENDING, StepState.CANCELLED}
    ),
    StepState.FAILED: frozenset({StepState.PENDING}),
    StepState.BLOCKED: frozenset({StepState.PENDING}),
    StepState.CANCELLED: frozenset({StepState.PENDING}),
    StepState.SUCCEEDED: frozenset({StepState.PENDING}),
}
"""A succeeded step goes back to pending only when its artifact is missing, corrupt or refreshed."""
