"""A tuning run of fake trials in a process of its own, to be killed by tests.

    python -m threedrs_workflows.testing.tuning_worker WORKSPACE GRID LEDGER [SECONDS]

A trial's one step takes SECONDS, draws the validation loss on its way, leaves a line in the ledger
behind the first point, and measures how near its settings are to weight 2 and layer 1.
"""

from __future__ import annotations

import functools
import json
import math
import sys
import time
from pathlib import Path

from threedrs_platform.compute.in_process import InProcessCompute
from threedrs_platform.database.runs import Submission
from threedrs_platform.identity.file_digests import FileDigests
from threedrs_platform.records import Metric
from threedrs_platform.states import RunState
from threedrs_platform.steps import Cell, StepSpec, StepTask
from threedrs_platform.workspace import Workspace, find_workspace
from threedrs_workflows.engine.run_context import SupervisorOptions
from threedrs_workflows.engine.supervisor import Supervisor
from threedrs_workflows.experiment import canonical_experiment
from threedrs_workflows.grid.cells import GridCell, GridCells, load_cells
from threedrs_workflows.plan.submission import plan_cells
from threedrs_workflows.tuning.session import Session, open_session

POINTS = 10


def train(task: StepTask) -> None:
    """A training that can be killed: it goes on behind the last point of its curve."""
    mark = task.scratch / "point"
    first = int(mark.read_text()) if mark.exists() else 0
    distance = abs(math.log2(task.params["weight"] / 2)) + (task.params["layers"] != [1])
    for point in range(first, POINTS):
        time.sleep(task.params["seconds"] / POINTS)
        mark.write_text(str(point + 1))
        if point == 0:
            _note(task, "began")
        task.log(point + 1, {"validation/loss": distance + 1 / (point + 1)})
    if task.params.get("broken"):
        raise ValueError("these settings are broken")
    task.metric(Metric("scanrefer/acc@0.25", 100 - 10 * distance + task.params["seed"], n=1))
    task.metric(Metric("scanqa/em@1", 50 + 10 * distance, n=1))
    (task.out / "done.txt").write_text(str(distance))


def _note(task: StepTask, what: str) -> None:
    with Path(task.params["ledger"]).open("a") as ledger:
        ledger.write(json.dumps([what, task.params["cell"], task.params["seed"]]) + "\n")


def bind_fake(
    cell: GridCell, seed: int, files: FileDigests, *, ledger: str, seconds: float
) -> Cell:
    """A cell whose only step is `train`."""
    alignment = cell.experiment.alignment
    params = {
        "cell": cell.cell_id,
        "seed": seed,
        "ledger": ledger,
        "seconds": seconds,
        "weight": alignment.weight,
        "layers": list(alignment.layers),
        "broken": alignment.weight > 50,
    }
    step = StepSpec("finetune", f"{__name__}:train", params)
    params = canonical_experiment(cell.experiment)
    return Cell(cell.cell_id, cell.name, seed, params, {"finetune": step}, cell.label)


def session_of(workspace: Workspace, grid: GridCells, ledger: str, seconds: float) -> Session:
    """Open the grid's tuning run with fake trials."""
    assert grid.tuning is not None
    submission = Submission(f"{grid.name}-tune", "grid.yaml", grid.source_text, {"tune": "fake"})
    bind = functools.partial(bind_fake, ledger=ledger, seconds=seconds)
    return open_session(workspace, grid.tuning, submission, bind)


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
    # By its own name: steps are found by the module's name, which is not __main__.
    from threedrs_workflows.testing import tuning_worker as this

    folder, file, ledger, *rest = sys.argv[1:]
    with find_workspace(folder, environment={}) as workspace:
        grid = load_cells(file)
        session = this.session_of(workspace, grid, ledger, float(rest[0]) if rest else 0.05)
        return 0 if this.work(workspace, session) is RunState.SUCCEEDED else 1


if __name__ == "__main__":
    sys.exit(main())
