"""What other workers tried on a step: their failures count, and their waiting times hold here."""

from __future__ import annotations

import time
from functools import cached_property

from threedrs_platform.database.step_rows import StepRow
from threedrs_platform.database.tries import failed_tries, opened_at
from threedrs_platform.states import FailureClass
from threedrs_workflows.engine.run_context import RunContext
from threedrs_workflows.plan.plan import PlannedStep


class EarlierTries:
    """Learns of the attempts that a step has had, once after each."""

    def __init__(self, context: RunContext) -> None:
        self._run = context

    @cached_property
    def _since(self) -> float:
        return opened_at(self._run.workspace.database, self._run.run_id)

    def must_wait(self, step: PlannedStep, row: StepRow) -> bool:
        """Whether a step that could start has to wait first, by what the journal tells of it."""
        run = self._run
        if not row.epoch or run.known_tries.get(step.key) == row.epoch:
            return False
        run.known_tries[step.key] = row.epoch
        tries = failed_tries(run.workspace.database, step.key, self._since)
        if tries.last is None:
            return False
        retry = run.retries.learn(step.spec, step.key, tries.counts, tries.last)
        # A try that was interrupted after the last failure has served its waiting time.
        # A clock that was set back since makes an age negative.
        age_s = max(0.0, tries.age_s)
        waits_s = retry.delay_s - age_s if row.failure == FailureClass.INFRA else 0.0
        run.waiting_retries[step.key] = (time.monotonic() + waits_s, retry)
        return waits_s > 0
