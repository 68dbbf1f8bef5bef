"""States of steps, attempts and runs, and classes of failure. The journal moves between states."""

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
    PAUSED = "paused"
    """Its budget allows no further step."""
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
    DIVERGED = "diverged"
    """Training left the finite numbers: an answer about its settings, the same the next time."""
