"""Launches ready steps: reuses a result that exists, waits for another supervisor, or claims the
step and starts an attempt.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from threedrs_platform.compute.attempts import AttemptRequest
from threedrs_platform.compute.recorder import LiveTail
from threedrs_platform.compute.scratch import scratch_of
from threedrs_platform.database.claims import Claim, Start
from threedrs_platform.database.journal_writes import same_inputs
from threedrs_platform.database.step_rows import StepRow
from threedrs_platform.states import FailureClass, StepState
from threedrs_platform.steps import Resources
from threedrs_platform.store.artifacts import Health
from threedrs_workflows.engine.budget import Purse
from threedrs_workflows.engine.earlier_tries import EarlierTries
from threedrs_workflows.engine.run_context import Attempt, RunContext
from threedrs_workflows.engine.schedule import Phase, Want, wanted_by
from threedrs_workflows.plan.plan import PlannedStep

LAUNCHES_PER_TURN = 64


class StepLauncher:
    """Launches the ready steps of one run."""

    def __init__(self, context: RunContext, purse: Purse) -> None:
        self._run, self._purse = context, purse
        self._earlier = EarlierTries(context)
        self._claimed: list[Attempt] = []
        """Attempts that wait for the transaction with their claims to end."""
        self._pending: dict[str, str] = {}
        """Content keys of steps that are to be claimed together, by step key."""
        self._asked: dict[str, str] = {}
        """Step key -> artifact that it could take over, whose health nobody has looked at."""
        self._health: dict[str, Health] = {}
        """By artifact; each answer is used once."""

    def look(self) -> None:
        """Ask the store what the last turn wanted to know.

        Outside of any transaction: a store that is silent for minutes must not keep the database.
        """
        store, asked, self._asked = self._run.workspace.store, self._asked, {}
        self._health |= {digest: store.stat_check(digest) for digest in asked.values()}

    def startable(self) -> list[str]:
        """The next ready steps that there is room and budget for; each launch takes of both."""
        now = time.monotonic()
        found: list[str] = []
        resources: list[Resources] = []
        chosen: list[PlannedStep] = []
        refused: set[Want] = set()  # what has no room now has none behind further steps
        if self._is_full(()):
            return found
        for key in self._run.ready():
            not_before, _ = self._run.waiting_retries.get(key, (0.0, None))
            step = self._run.schedule.steps[key]
            want = wanted_by(step)
            if not self._purse.allows(step, self._run.attempts.values(), chosen):
                continue  # asked of every step: the purse remembers those that it holds back
            if not_before > now or want in refused or key in self._asked:
                continue
            if not self._has_room(want, resources):
                refused.add(want)
                if self._purse.budget is None and len(refused) == self._run.schedule.num_wants:
                    break
                continue
            found.append(key)
            resources.append(want.resources)
            chosen.append(step)
            if len(found) == LAUNCHES_PER_TURN or self._is_full(chosen):
                break
        return found

    def launch(self, keys: Sequence[str]) -> None:
        """Decide about ready steps; attempts that were claimed begin with the next `submit`."""
        contents = {key: self._content_key(key) for key in keys}
        rows = self._run.workspace.journal.rows(keys)
        twins = self._run.workspace.journal.with_content(contents.values())
        for key in keys:
            if self._run.schedule.phase(key) is Phase.READY:  # --fail-fast may just have dropped it
                step, content = self._run.schedule.steps[key], contents[key]
                self._decide(step, rows[key], content, twins.get(content))
        self._claim_pending()

    @property
    def has_more(self) -> bool:
        """Whether the next turn can begin at once."""
        return bool(self._asked or self.startable())

    def forget(self) -> None:
        """Drop the claims and questions of a turn that did not happen."""
        self._claimed.clear()
        self._asked.clear()
        self._pending.clear()

    def follow(self, keys: Sequence[str]) -> bool:
        """Take over what others did with ready steps that are not for here; whether that is news.

        Args:
            keys: in an order in which inputs come first.
        """
        news = False
        for key, row in self._run.workspace.journal.rows(keys).items():
            step = self._run.schedule.steps[key]
            if row.state is StepState.SUCCEEDED and row.content_key == self._content_key(key):
                self._take_result(step, row)
            elif row.state is StepState.FAILED:
                self._give_up(step, row)
            news = news or self._run.schedule.phase(key).is_final
        return news

    def submit(self) -> None:
        """Begin the claimed attempts, now that their claims are committed."""
        claimed, self._claimed = self._claimed, []  # what fails now is never begun later
        handles = self._run.compute.submit_all([attempt.request for attempt in claimed])
        for attempt, handle in zip(claimed, handles, strict=True):
            attempt.handle = handle

    def _decide(
        self, step: PlannedStep, row: StepRow, content_key: str, twin: StepRow | None
    ) -> None:
        journal, run_id = self._run.workspace.journal, self._run.run_id
        can_start = row.state is StepState.PENDING or row.is_abandoned
        if can_start and self._earlier.must_wait(step, row):
            return
        if row.state is StepState.SUCCEEDED:
            if row.content_key == content_key:
                self._take_result(step, row)
            else:
                journal.invalidate(run_id, step.key, "input changed")
        elif row.state is StepState.RUNNING and not row.is_abandoned:
            self._run.wait_for_others(step.key)
            self._run.tell(step, "waiting", "another submission works on it")
        elif row.state is StepState.FAILED:
            self._give_up(step, row)
        elif row.state in (StepState.BLOCKED, StepState.CANCELLED):
            # Another run gave it up; this one wants it, and its inputs are there.
            journal.move(run_id, [step.key], StepState.PENDING, row.reason, [row.state])
        elif twin is None or twin.key == step.key or not self._adopt(step, twin):
            if row.state is StepState.PENDING:
                self._pending[step.key] = content_key
            else:
                self._claim(step, row, content_key)

    def _give_up(self, step: PlannedStep, row: StepRow) -> None:
        self._run.fail(step, row.failure or FailureClass.BUG, row.message or "failed elsewhere")

    def _take_result(self, step: PlannedStep, row: StepRow) -> None:
        """Use the result that another supervisor or an earlier run committed for this very step."""
        assert row.output_digest is not None
        health = self._known_health(step, row.output_digest)
        if health is None:
            return
        if health is not Health.OK:
            why = "artifact missing or corrupt"
            self._run.workspace.journal.invalidate(self._run.run_id, step.key, why)
            return
        finishing = self._run.schedule.finishing(step.key)
        self._run.schedule.done(step.key, row.output_digest)
        self._run.workspace.runs.finish_cells(self._run.run_id, finishing, StepState.SUCCEEDED)
        self._run.tell(step, "reused")

    def _known_health(self, step: PlannedStep, digest: str) -> Health | None:
        """An artifact's health; None if it has to be asked for first, before the next turn."""
        health = self._health.pop(digest, None)
        if health is None:
            self._asked[step.key] = digest
        return health

    def _adopt(self, step: PlannedStep, twin: StepRow) -> bool:
        """Use the result of a twin: a step that did the same work under another recipe.

        Returns:
            Whether the step is seen to, so that it is not claimed now.
        """
        digest, schedule = twin.output_digest, self._run.schedule
        if digest is None:
            return False
        health = self._known_health(step, digest)
        if health is not Health.OK:
            return health is None  # then the next turn decides
        adopted = self._run.workspace.journal.adopt(
            self._run.run_id,
            step.key,
            twin,
            schedule.inputs(step.key),
            schedule.finishing(step.key),
        )
        if adopted:
            schedule.done(step.key, digest)
            self._run.tell(step, "reused", same_inputs(twin))
        return adopted

    def _claim(self, step: PlannedStep, row: StepRow, content_key: str) -> None:
        """Claim a step that another supervisor has given up."""
        run, start = self._run, self._start_of(step)
        lease_s, journal = run.options.lease_s, run.workspace.journal
        claim = journal.claim(run.run_id, step.key, lease_s, start.log_file, start.note, row)
        self._begin(step, claim, start, content_key)

    def _claim_pending(self) -> None:
        """Claim the steps that nobody has; first those that fail, which may end the run."""
        pending, self._pending = self._pending, {}
        wanted = {key: self._run.schedule.steps[key].spec.resources for key in pending}
        failing = {key for key in pending if self._run.compute.refusal(wanted[key]) is not None}
        self._claim_all(pending, [key for key in pending if key in failing])
        self._claim_all(pending, [key for key in pending if key not in failing])

    def _claim_all(self, pending: Mapping[str, str], keys: Sequence[str]) -> None:
        run, steps = self._run, self._run.schedule.steps
        starts = {
            key: self._start_of(steps[key])
            for key in keys
            if run.schedule.phase(key) is Phase.READY
        }
        lease_s = run.options.lease_s
        claims = run.workspace.journal.claim_pending(run.run_id, starts, lease_s)
        for key, start in starts.items():
            self._begin(steps[key], claims.get(key), start, pending[key])

    def _start_of(self, step: PlannedStep) -> Start:
        return Start(self._run.workspace.log(step.key), self._run.note(step))

    def _begin(
        self, step: PlannedStep, claim: Claim | None, start: Start, content_key: str
    ) -> None:
        """Get an attempt ready, unless its resources can never be had."""
        run, journal = self._run, self._run.workspace.journal
        if claim is None:
            run.wait_for_others(step.key)
            return
        refusal = run.compute.refusal(step.spec.resources)
        if refusal is not None:
            journal.fail(run.run_id, claim, FailureClass.INFRA, refusal)
            run.fail(step, FailureClass.INFRA, refusal)
            return
        log_file = start.log_of(claim)
        live_file = Path(log_file).with_suffix(".jsonl")
        request = AttemptRequest(
            step_key=step.key,
            attempt=claim.epoch,
            kind=step.spec.kind,
            label=step.spec.label,
            entry=step.spec.entry,
            modules=step.spec.modules,
            code=step.recipe.code,
            code_cache=str(run.workspace.code_cache),
            params=dict(step.spec.params),
            settings=dict(run.settings(step)),
            inputs=run.schedule.inputs(step.key),
            resources=step.spec.resources,
            store=run.workspace.store_address,
            scratch=str(scratch_of(run.workspace.scratch, step.key, content_key)),
            log_file=log_file,
            live_file=str(live_file),
            fresh_process=run.wants_fresh_process(step),
        )
        attempt = Attempt(claim, step, request, content_key, LiveTail(live_file))
        if step.spec.resources.timeout_s:
            attempt.deadline = time.monotonic() + step.spec.resources.timeout_s
        run.attempts[step.key] = attempt
        self._claimed.append(attempt)
        run.schedule.set(step.key, Phase.RUNNING)
        run.tell(step, "started", start.note)

    def _is_full(self, chosen: Sequence[PlannedStep]) -> bool:
        jobs = self._run.options.jobs
        return jobs is not None and len(self._run.attempts) + len(chosen) >= jobs

    def _has_room(self, want: Want, before: Sequence[Resources]) -> bool:
        claimed = [attempt.request.resources for attempt in self._claimed]
        return self._run.compute.has_room(want.resources, [*claimed, *before], want.kind)

    def _content_key(self, key: str) -> str:
        schedule = self._run.schedule
        return schedule.steps[key].recipe.content_key(schedule.inputs(key))
