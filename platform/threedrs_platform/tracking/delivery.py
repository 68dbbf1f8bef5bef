"""MLflow, written from the outbox after the commit: one experiment per grid, one parent run per
submission, one child run per cell and seed.

Delivery is repeated until it is marked done, so every write must bear repetition: runs are found
again by their tags; one that was not finished is thrown away and written anew.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from threedrs_platform.database.connection import Database
from threedrs_platform.database.measurements import RunResults, RunSummary
from threedrs_platform.database.outbox import (
    DeliveryLock,
    Message,
    count_open,
    mark_delivered,
    note_failure,
    open_messages,
    sole_deliverer,
)
from threedrs_platform.database.results import Results
from threedrs_platform.database.urls import file_url
from threedrs_platform.shown_urls import without_secrets
from threedrs_platform.states import RunState
from threedrs_platform.tracking.cells import CellWriter
from threedrs_platform.tracking.evidence import Evidence
from threedrs_platform.tracking.names import (
    CELL,
    KIND,
    LONGEST_VALUE,
    NOTE,
    RUN,
    STATE,
    find_parent,
)
from threedrs_platform.tracking.places import ARTIFACTS, Target, mend_places

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient


@dataclass(frozen=True)
class Delivery:
    """What became of the waiting messages."""

    delivered: int = 0
    left: int = 0
    error: str = ""
    """Why messages are left; they stay in the outbox."""


def local_target(workspace: Path, tracking_uri: str | None, git_commit: str = "") -> Target:
    """The team's server if a URI is given, else a database in the workspace."""
    if tracking_uri:
        return Target(tracking_uri, git_commit=git_commit)
    folder = workspace.resolve()
    url = file_url(folder / "mlflow.db")
    if "%" in url:  # of a plain sqlite:/// MLflow makes the folder that is spelled as in the URL
        url = url.replace("sqlite:", "sqlite+pysqlite:", 1)
    return Target(url, folder / ARTIFACTS, git_commit)


def deliver(
    database: Database,
    folder: Path,
    target: Target,
    evidence: Evidence | None = None,
) -> Delivery:
    """Write all waiting messages to MLflow. Imports MLflow only if there is one.

    A failure of MLflow is reported, never raised: the run's own records are complete without it.
    A message that MLflow or its evidence refuses keeps its cause and lets the others pass.

    Args:
        folder: of the workspace; holds the lock.
        evidence: tells what to keep beside the numbers.
    """
    evidence = evidence or Evidence()
    delivered, error = 0, ""
    refused: set[int] = set()
    with sole_deliverer(database, folder) as mine:
        try:
            while mine and (messages := open_messages(database, refused)):
                written = _write(Results(database), messages, Server(target), evidence, mine)
                for message, problem in written:
                    if problem:
                        note_failure(database, message, problem, refused=True)
                        refused.add(message.id)
                        error = error or problem
                        continue
                    mark_delivered(database, [message])  # one by one: a crash repeats one at most
                    delivered += 1
        except Exception as problem:  # whatever a tracking server may throw
            error = _one_line(problem)
            for message in open_messages(database, limit=1):
                note_failure(database, message, error, refused=False)
    return Delivery(delivered, count_open(database), error)


def attach_folder(target: Target, run: RunSummary, folder: Path, name: str) -> str:
    """Log a folder's files with a submission's parent run, in place of those of the same name.

    Args:
        name: of the folder in MLflow.

    Returns: why nothing was logged; empty when all was.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        mend_places(target)
        client = MlflowClient(target.uri)
        parent = find_parent(client, run)
        if parent is None:
            return f"MLflow does not know run {run.run_id} yet"
        client.log_artifacts(parent.info.run_id, str(folder), name)
    except (MlflowException, SQLAlchemyError, OSError) as error:  # its store may be read-only, too
        return without_secrets(f"MLflow: {str(error).splitlines()[0]}")
    return ""


def _write(
    results: Results,
    messages: Sequence[Message],
    server: Server,
    evidence: Evidence,
    mine: DeliveryLock,
) -> Iterator[tuple[Message, str]]:
    """Write messages run by run; yields each once it is written, or with why it cannot be.

    Raises:
        Exception: of MLflow, where it answers nobody.
    """
    known = {run.run_id for run in results.run_summaries()}
    for run_id, group in groupby(messages, key=lambda message: message.run_id):
        if run_id not in known:  # removed since: nothing is left to tell
            yield from ((message, "") for message in group)
            continue
        writer: RunWriter | None = None
        for message in group:
            if not mine:  # another process delivers what is left
                return
            problem = ""
            try:
                if writer is None:
                    run = results.run_results(run_id)
                    writer = RunWriter(server, results, run, evidence)
                writer.write(message)
            except Exception as error:  # whatever a server, a library or a broken artifact throws
                server.answer()
                problem = f"{_subject(message)}: {_one_line(error)}"
            yield message, problem


def _subject(message: Message) -> str:
    with contextlib.suppress(ValueError):  # its text is damaged: that is what is to be told
        cell, seed = message.payload.get("cell"), message.payload.get("seed")
        return f"{message.run_id}, cell {cell} seed {seed}" if cell else message.run_id
    return f"{message.run_id}, message {message.id}"


def _one_line(error: Exception) -> str:
    return without_secrets(f"{type(error).__name__}: {error}".splitlines()[0])


class Server:
    """MLflow's client and its experiments."""

    def __init__(self, target: Target) -> None:
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self.target = target
        mend_places(target)
        self.client: MlflowClient = MlflowClient(target.uri)

    def answer(self) -> None:
        """Ask something that any server can answer, to tell its silence from its refusal.

        Raises:
            Exception: it does not answer.
        """
        self.client.search_experiments(max_results=1)

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


class RunWriter:
    """One submission: its parent run, and the child runs under it."""

    def __init__(
        self, server: Server, results: Results, run: RunResults, evidence: Evidence
    ) -> None:
        self._client, self._run, self._evidence = server.client, run, evidence
        commit = server.target.git_commit
        self._common_tags = {"grid": run.run.name}
        self._common_tags |= {"mlflow.source.git.commit": commit} if commit else {}
        self._experiment = server.experiment(run.run.name)
        self._parent = self._parent_run(run.run)
        self.cells = CellWriter(
            server.client,
            self._experiment,
            self._parent,
            results,
            run,
            evidence,
            self._common_tags,
        )

    def _parent_run(self, run: RunSummary) -> str:
        found = find_parent(self._client, run)
        if found is not None:
            return str(found.info.run_id)
        tags = {RUN: run.run_id, CELL: "-", KIND: "submission"} | self._common_tags
        tags |= {"threedrs.grid_file": run.grid_file}
        begin = _milliseconds(run.created_at)
        created = self._client.create_run(self._experiment, begin, tags, run.run_id)
        return str(created.info.run_id)

    def write(self, message: Message) -> None:
        """What a message tells, if it tells something for MLflow."""
        if message.kind == "cell.finished":
            self.cell(str(message.payload["cell"]), int(message.payload["seed"]))
        elif message.kind == "run.finished":
            self.finish()

    def finish(self) -> None:
        """Attach the report and close the parent run."""
        for name, text in self._evidence.run_files(self._run.run.run_id).items():
            self._client.log_text(self._parent, text, name)
        if note := self._evidence.run_note(self._run):
            self._client.set_tag(self._parent, NOTE, note[:LONGEST_VALUE])
        state = self._run.run.state
        self._client.set_tag(self._parent, STATE, str(state))
        end = _milliseconds(self._run.run.finished_at or self._run.run.created_at)
        self._client.set_terminated(self._parent, _STATUS.get(state, "RUNNING"), end)

    def cell(self, cell_id: str, seed: int) -> None:
        """Write the child run of a cell and seed; one that was taken up again is told later."""
        for cell in self._run.cells:
            if (cell.cell_id, cell.seed) == (cell_id, seed) and cell.state.is_terminal:
                self.cells.write(cell)


_STATUS = {
    RunState.SUCCEEDED: "FINISHED",
    RunState.PARTIAL: "FINISHED",
    RunState.FAILED: "FAILED",
    RunState.CANCELLED: "KILLED",
    RunState.INTERRUPTED: "KILLED",
    RunState.PAUSED: "KILLED",
}


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
