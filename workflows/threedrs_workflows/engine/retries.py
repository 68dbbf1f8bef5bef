"""Whether a failed attempt is tried again, when, and with what changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from threedrs_platform.states import FailureClass
from threedrs_platform.steps import JSON, StepSpec
from threedrs_workflows.engine.undo import Undoable

RETRIES: Mapping[FailureClass, int] = {
    FailureClass.BUG: 0,
    FailureClass.DATA: 0,
    FailureClass.INFRA: 3,
    FailureClass.OOM: 2,
    FailureClass.STORAGE: 0,
    FailureClass.DIVERGED: 0,
}
"""How often a step is tried again in one submission, by what went wrong."""

BACKOFF_S = 2.0
"""Wait before the first retry after an infrastructure failure; doubles each time."""


@dataclass(frozen=True)
class Retry:
    """A decision to try again."""

    delay_s: float
    settings: Mapping[str, JSON]
    note: str
    fresh_process: bool = False


@dataclass
class RetryPolicy:
    """Decides retries of one submission and counts them."""

    retries: Mapping[FailureClass, int] = field(default_factory=lambda: RETRIES)
    backoff_s: float = BACKOFF_S
    _used: Undoable[tuple[str, FailureClass], int] = field(default_factory=Undoable)

    def mark(self) -> None:
        """Begin a turn that may have to be taken back."""
        self._used.mark()

    def roll_back(self) -> None:
        """Go back to the last mark."""
        self._used.roll_back()

    def decide(
        self, spec: StepSpec, key: str, failure: FailureClass, settings: Mapping[str, JSON]
    ) -> Retry | None:
        """The next try of a step, None if it has failed for good."""
        used = self._used.get((key, failure), 0)
        if used >= self.retries[failure]:
            return None
        self._used[key, failure] = used + 1
        return self._retry(spec, failure, used, settings)

    def learn(
        self, spec: StepSpec, key: str, failed: Counter[FailureClass], last: FailureClass
    ) -> Retry:
        """Count what has failed elsewhere, too; the next try after all that.

        Args:
            failed: all failed tries of the step in this submission, also those counted here.
            last: class of the newest of them.
        """
        for failure, count in failed.items():
            self._used[key, failure] = max(self._used.get((key, failure), 0), count)
        settings: Mapping[str, JSON] = spec.settings
        for _ in range(failed[FailureClass.OOM] - (last is FailureClass.OOM)):
            settings = halve_micro_batch(spec.params, settings) or settings
        return self._retry(spec, last, max(failed[last] - 1, 0), settings)

    def _retry(
        self, spec: StepSpec, failure: FailureClass, used: int, settings: Mapping[str, JSON]
    ) -> Retry:
        if failure is FailureClass.OOM:
            halved = halve_micro_batch(spec.params, settings)
            if halved is not None:
                return Retry(0.0, halved, "micro-batch halved at the same effective batch", True)
            return Retry(0.0, settings, "again after running out of memory", True)
        return Retry(self.backoff_s * 2**used, settings, f"again after {failure} failure")


def halve_micro_batch(
    params: Mapping[str, JSON], settings: Mapping[str, JSON]
) -> dict[str, JSON] | None:
    """The settings with twice the accumulation, None if the batch cannot be cut any finer.

    The batch of an optimizer step is a parameter, its cutting into accumulation rounds is not: the
    gradient, and so the step's identity, stays the same.
    """
    batch = params.get("training", {}).get("scenes_per_step")
    training = settings.get("training", {})
    rounds = training.get("gradient_accumulation")
    if batch is None or rounds is None or batch % (2 * rounds * training.get("workers", 1)):
        return None
    return {**settings, "training": {**training, "gradient_accumulation": 2 * rounds}}
