"""An engine on a workspace that remembers what it was told, for tests that run steps."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select

from threedrs_platform.compute.in_process import Compute, InProcessCompute
from threedrs_platform.compute.recorder import Progress
from threedrs_platform.database import schema
from threedrs_platform.database.runs import Submission
from threedrs_platform.database.step_rows import StepRow
from threedrs_platform.states import RunState
from threedrs_platform.steps import Cell
from threedrs_platform.workspace import Workspace
from threedrs_workflows.engine.budget import Budget
from threedrs_workflows.engine.observer import Observer
from threedrs_workflows.engine.retries import RetryPolicy
from threedrs_workflows.engine.run_context import SupervisorOptions
from threedrs_workflows.engine.schedule import Schedule
from threedrs_workflows.engine.supervisor import Supervisor
from threedrs_workflows.plan.plan import Plan, PlannedStep
from threedrs_workflows.plan.submission import plan_cells, record, replan


@dataclass
class RecordingObserver(Observer):
    """An observer that remembers."""

    steps: list[tuple[str, str, str]] = field(default_factory=list)
    reports: list[Progress] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    state: RunState | None = None

    def started(self, run_id: str, schedule: Schedule) -> None:
        """Remember the run."""
        self.run_id = run_id

    def step(self, step: PlannedStep, what: str, message: str = "") -> None:
        """Remember what happened."""
        self.steps.append((step.spec.kind, what, message))

    def progress(self, step: PlannedStep, progress: Progress) -> None:
        """Remember how far."""
        self.reports.append(progress)

    def warning(self, message: str) -> None:
        """Remember the text."""
        self.warnings.append(message)

    def finished(self, state: RunState) -> None:
        """Remember the end."""
        self.state = state

    def what(self, kind: str) -> list[str]:
        """What happened to steps of a kind."""
        return [what for of, what, _ in self.steps if of == kind]


@dataclass
class Engine:
    """Submits cells to a workspace and runs them."""

    workspace: Workspace
    compute: Compute = field(default_factory=lambda: InProcessCompute(2))
    told: RecordingObserver = field(default_factory=RecordingObserver)
    run_id: str = ""
    plan: Plan | None = None

    def look(self, cells: Sequence[Cell], refresh: Collection[str] = ()) -> Plan:
        """Plan only."""
        return plan_cells(self.workspace, cells, refresh)

    def submit(
        self, cells: Sequence[Cell], refresh: Collection[str] = (), **options: Any
    ) -> RunState:
        """Plan, record and run cells."""
        self.plan = self.look(cells, refresh)
        self.run_id = record(self.workspace, Submission("demo", "demo.yaml", "", {}), self.plan)
        return self.work(self.plan, **options)

    def submit_plan(self, plan: Plan) -> RunState:
        """Record and run a plan that was made earlier."""
        self.run_id = record(self.workspace, Submission("demo", "demo.yaml", "", {}), plan)
        return self.work(plan)

    def resume(self, **options: Any) -> RunState:
        """Go on with the last run."""
        self.plan = replan(self.workspace, self.run_id)
        return self.work(self.plan, **options)

    def work(self, plan: Plan, **options: Any) -> RunState:
        """Run a plan under the last run."""
        self.told = RecordingObserver()
        supervisor = self.supervisor(**options)
        return supervisor.run(self.run_id, plan)

    def supervisor(
        self, stop: Any = None, budget: Budget | None = None, **options: Any
    ) -> Supervisor:
        """A supervisor in a hurry."""
        chosen = SupervisorOptions(**({"poll_s": 0.02} | options))
        retries = RetryPolicy(backoff_s=0.01)
        made = Supervisor(self.workspace, self.compute, chosen, self.told, retries)
        made.budget = budget
        if stop is not None:
            made.stop = stop
        return made

    def row(self, kind: str) -> StepRow:
        """The journal's row of the only step of a kind in the last plan."""
        assert self.plan is not None
        (step,) = [step for step in self.plan.steps if step.spec.kind == kind]
        return self.workspace.journal.rows([step.key])[step.key]

    def artifact(self, kind: str) -> Path:
        """The files of the only step of a kind."""
        digest = self.row(kind).output_digest
        assert digest is not None
        return self.workspace.store.checkout(digest)

    def attempts(self) -> list[Any]:
        """All attempts of the journal."""
        with self.workspace.database.read() as connection:
            return list(connection.execute(select(schema.attempts)))


def reasons(plan: Plan) -> dict[str, str]:
    """Reason by kind of step."""
    return {step.spec.kind: step.reason for step in plan.steps}
