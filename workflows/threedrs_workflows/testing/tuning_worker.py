"""A tuning run of fake trials in a process of its own, to be killed by tests.

python -m threedrs_workflows.testing.tuning_worker WORKSPACE GRID LEDGER [SECONDS]

It says when it is ready, and begins at a line from its input.
"""

from __future__ import annotations

import sys

from threedrs_platform.compute.in_process import InProcessCompute
from threedrs_platform.database.runs import Submission
from threedrs_platform.identity.file_digests import FileDigests
from threedrs_platform.states import RunState
from threedrs_platform.steps import Cell, StepSpec
from threedrs_platform.workspace import Workspace, find_workspace
from threedrs_workflows.engine.run_context import SupervisorOptions
from threedrs_workflows.engine.supervisor import Supervisor
from threedrs_workflows.experiment_identity import canonical_experiment
from threedrs_workflows.grid.cells import GridCell, GridCells, load_cells
from threedrs_workflows.plan.submission import plan_cells
from threedrs_workflows.testing import fake_training
from threedrs_workflows.tuning.arm_study import Chosen
from threedrs_workflows.tuning.partners import submission_name
from threedrs_workflows.tuning.session import Session, open_session


class FakeTrials:
    """Binds a cell to the one step `finetune`."""

    def __init__(self, ledger: str, seconds: float = 0.0) -> None:
        self.ledger, self.seconds = ledger, seconds
        self.broken_while = ""
        """A file: trainings fail as long as it exists."""
        self.data = ""
        """Stands for the digest of what the training reads."""
        self.entry = f"{fake_training.__name__}:train"
        """Of trainings with a weight of at least 1."""

    def __call__(self, cell: GridCell, seed: int, files: FileDigests) -> Cell:
        """A cell under one seed."""
        alignment = cell.experiment.alignment
        params = {
            "cell": cell.cell_id,
            "seed": seed,
            "ledger": self.ledger,
            "seconds": self.seconds,
            "data": self.data,
            "weight": alignment.weight,
            "layers": list(alignment.layers),
            "broken": alignment.weight > 50,
            "broken_while": self.broken_while,
            "diverges": 20 < alignment.weight < 50,
        }
        entry = self.entry if alignment.weight >= 1 else f"{fake_training.__name__}:train"
        step = StepSpec("finetune", entry, params)
        params = canonical_experiment(cell.experiment)
        return Cell(cell.cell_id, cell.name, seed, params, {"finetune": step}, cell.label)


def session_of(
    workspace: Workspace, grid: GridCells, bind: FakeTrials, again: Chosen | None = None
) -> Session:
    """Open the grid's tuning run with fake trials."""
    assert grid.tuning is not None
    options = {"tune": grid.tuning.run}
    name = submission_name(grid.tuning.grid)
    submission = Submission(name, "grid.yaml", grid.source_text, options)
    return open_session(workspace, grid.tuning, submission, bind, again)


def work(workspace: Workspace, session: Session) -> RunState:
    """Run a session's trials to the end of their budget."""
    compute = InProcessCompute(2)
    supervisor = Supervisor(workspace, compute, SupervisorOptions(poll_s=0.01))
    supervisor.feed = session.tuner
    try:
        return supervisor.run(session.run_id, plan_cells(workspace, []))
    finally:
        compute.close()


def main() -> int:
    """Entry of the process."""
    folder, file, ledger, *rest = sys.argv[1:]
    with find_workspace(folder, environment={}) as workspace:
        bind = FakeTrials(ledger, float(rest[0]) if rest else 0.05)
        session = session_of(workspace, load_cells(file), bind)
        print("ready", flush=True)
        sys.stdin.readline()
        return 0 if work(workspace, session) is RunState.SUCCEEDED else 1


if __name__ == "__main__":
    sys.exit(main())
