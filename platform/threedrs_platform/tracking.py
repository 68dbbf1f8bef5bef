"""MLflow, written from the outbox after the commit: one experiment per grid, one parent run per
submission, one child run per cell and seed.

Delivery is repeated until it is marked done, so every write must bear repetition: runs are found
again by their tags; one that was not finished is thrown away and written anew.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from threedrs_platform.database import Database
from threedrs_platform.measurements import CellResult, RunResults, RunSummary, flatten
from threedrs_platform.outbox import (
    Message,
    count_open,
    mark_delivered,
    open_messages,
    sole_deliverer,
)
from threedrs_platform.results import Results
from threedrs_platform.states import RunState, StepState

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
    from mlflow.tracking import MlflowClient

METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100
LONGEST_VALUE = 5000
"""MLflow refuses longer parameters and tags."""
RUN, CELL, SEED, STEPS, STATE, COMPLETE = (
    f"threedrs.{name}" for name in ("run", "cell", "seed", "steps", "state", "complete")
)

_Item = TypeVar("_Item")
Attachments = Callable[[str], Mapping[str, str]]
"""Run id -> text by file name, to be kept with the parent run."""


@dataclass(frozen=True)
class Target:
    """Where MLflow keeps its runs."""

    uri: str
    artifacts: Path | None = None
    """Folder for attachments; None where the server decides."""
    git_commit: str = ""
    """The commit of the source tree, if it is one."""


@dataclass(frozen=True)
class Delivery:
    """What became of the waiting messages."""

    delivered: int = 0
    left: int = 0
    error: str = ""
    """Why the rest is left; they stay in the outbox."""


def local_target(workspace: Path, tracking_uri: str | None, git_commit: str = "") -> Target:
    """The team's server if a URI is given, else a database in the workspace."""
    if tracking_uri:
        return Target(tracking_uri, git_commit=git_commit)
    folder = workspace.resolve()
    return Target(f"sqlite:///{folder / 'mlflow.db'}", folder / "mlartifacts", git_commit)


def deliver(
    database: Database,
    folder: Path,
    target: Target,
    attachments: Attachments = lambda run_id: {},
) -> Delivery:
    """Write all waiting messages to MLflow. Imports MLflow only if there is one.

    A failure of MLflow is reported, never raised: the run's own records are complete without it.

    Args:
        folder: of the workspace; holds the lock.
    """
    delivered, error = 0, ""
    with sole_deliverer(database, folder) as mine:
        try:
            while mine and (messages := open_messages(database)):
                for message in _write(Results(database), messages, _Writer(target), attachments):
                    mark_delivered(database, [message])
                    delivered += 1
        except Exception as problem:  # whatever a tracking server may throw
            error = f"{type(problem).__name__}: {problem}".splitlines()[0]
    return Delivery(delivered, count_open(database), error)


def _write(
    results: Results, messages: Sequence[Message], writer: _Writer, attachments: Attachments
) -> Iterator[Message]:
    """Write messages run by run; yields each once it is written."""
    known = {run.run_id for run in results.run_summaries()}
    for run_id, group in groupby(messages, key=lambda message: message.run_id):
        if run_id not in known:  # removed since: nothing is left to tell
            yield from group
            continue
        written = _RunWriter(writer, results, results.run_results(run_id))
        for message in group:
            if message.kind == "cell.finished":
                written.cell(str(message.payload["cell"]), int(message.payload["seed"]))
            elif message.kind == "run.finished":
                written.finish(attachments(run_id))
            yield message


class _Writer:
    """MLflow's client with what every run needs."""

    def __init__(self, target: Target) -> None:
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self.target = target
        self.client: MlflowClient = MlflowClient(target.uri)

    def experiment(self, name: str) -> str:
        """Id of the experiment of a grid, created if need be."""
        found = self.client.get_experiment_by_name(name)
        if found is None:
            folder = self.target.artifacts
            place = None if folder is None else (folder / name).as_uri()
            return str(self.client.create_experiment(name, artifact_location=place))
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def find(self, experiment: str, tags: Mapping[str, str]) -> list[Run]:
        """Runs with all these tags."""
        wanted = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
        return list(self.client.search_runs([experiment], wanted, max_results=50))


class _RunWriter:
    """One submission: its parent run, and the child runs under it."""

    def __init__(self, writer: _Writer, results: Results, run: RunResults) -> None:
        self._client, self._target = writer.client, writer.target
        self._writer, self._results, self._run = writer, results, run
        self._experiment = writer.experiment(run.run.name)
        self._parent = self._parent_run(run.run)

    def _parent_run(self, run: RunSummary) -> str:
        found = self._writer.find(self._experiment, {RUN: run.run_id, CELL: "-"})
        if found:
            return str(found[0].info.run_id)
        tags = {RUN: run.run_id, CELL: "-", "threedrs.grid_file": run.grid_file} | self._commit()
        created = self._client.create_run(
            self._experiment, _milliseconds(run.created_at), tags, run.run_id
        )
        return str(created.info.run_id)

    def _commit(self) -> dict[str, str]:
        commit = self._target.git_commit
        return {"mlflow.source.git.commit": commit} if commit else {}

    def finish(self, attachments: Mapping[str, str]) -> None:
        """Attach the report and close the parent run."""
        for name, text in attachments.items():
            self._client.log_text(self._parent, text, name)
        state = self._run.run.state
        self._client.set_tag(self._parent, STATE, str(state))
        end = _milliseconds(self._run.run.finished_at or self._run.run.created_at)
        self._client.set_terminated(self._parent, _RUN_STATUS.get(state, "RUNNING"), end)

    def cell(self, cell_id: str, seed: int) -> None:
        """Write the child run of a cell and seed, unless it is there already and unchanged."""
        cell = next(
            (each for each in self._run.cells if (each.cell_id, each.seed) == (cell_id, seed)), None
        )
        if cell is None or not cell.state.is_terminal:  # taken up again; told when it ends
            return
        identity = {RUN: self._run.run.run_id, CELL: cell_id, SEED: str(seed)}
        content = {STEPS: _steps_tag(cell), STATE: str(cell.state)}
        for found in self._writer.find(self._experiment, identity):
            tags = found.data.tags
            same = all(tags.get(key) == value for key, value in content.items())
            if same and tags.get(COMPLETE) == "true":
                return
            self._client.delete_run(found.info.run_id)
        self._write_cell(cell, identity | content | self._commit())

    def _write_cell(self, cell: CellResult, tags: dict[str, str]) -> None:
        begin = _milliseconds(self._run.run.created_at)
        tags = {**tags, "mlflow.parentRunId": self._parent, "threedrs.cell_name": cell.name}
        name = f"{cell.title} seed {cell.seed}"
        run_id = self._client.create_run(self._experiment, begin, tags, name).info.run_id
        self._log_params(run_id, {**flatten(cell.params), "seed": cell.seed})
        for batch in _batches(list(self._metrics(cell, begin)), METRICS_PER_BATCH):
            self._client.log_batch(run_id, metrics=batch)
        config = json.dumps(dict(cell.params), indent=2, sort_keys=True)
        self._client.log_text(run_id, config, "config.json")
        self._client.set_tag(run_id, COMPLETE, "true")
        self._client.set_terminated(run_id, _CELL_STATUS[cell.state])

    def _log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        entities = [
            Param(tracked_name(key), _text(value)[:LONGEST_VALUE]) for key, value in params.items()
        ]
        for batch in _batches(entities, PARAMS_PER_BATCH):
            self._client.log_batch(run_id, params=batch)

    def _metrics(self, cell: CellResult, begin: int) -> Iterator[Metric]:
        """Curves over training steps, then the final numbers; times are fixed by the run."""
        from mlflow.entities import Metric

        for step in cell.steps:
            for point in self._results.curves(step.key):
                name = tracked_name(f"{step.role}/{point.name}")
                yield Metric(name, point.value, begin + point.step, point.step)
        for name, measurement in cell.measurements.items():
            yield Metric(tracked_name(name), measurement.metric.value, begin, 0)


_RUN_STATUS = {
    RunState.SUCCEEDED: "FINISHED",
    RunState.PARTIAL: "FINISHED",
    RunState.FAILED: "FAILED",
    RunState.CANCELLED: "KILLED",
    RunState.INTERRUPTED: "KILLED",
}
_CELL_STATUS = {
    StepState.SUCCEEDED: "FINISHED",
    StepState.FAILED: "FAILED",
    StepState.BLOCKED: "FAILED",
    StepState.CANCELLED: "KILLED",
}


def tracked_name(name: str) -> str:
    """A name that MLflow takes: "acc@0.25" becomes "acc_at_0.25"."""
    return re.sub(r"[^\w./ -]", "_", name.replace("@", "_at_"))


def _steps_tag(cell: CellResult) -> str:
    keys = {step.role: step.key[:16] for step in cell.steps}
    return json.dumps(keys, sort_keys=True)[:LONGEST_VALUE]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _batches(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
