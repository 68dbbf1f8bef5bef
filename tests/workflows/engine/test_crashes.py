"""Processes that are killed, stopped and interrupted. The promise: commits happen exactly once.

Workers are real processes. Execution may repeat; what is counted is commits, and the table of
results must be the one of an undisturbed run.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import select

from threedrs_platform.database import schema
from threedrs_platform.database.events import read_events
from threedrs_platform.states import RunState
from threedrs_platform.testing.databases import database_kinds, fresh_database
from threedrs_platform.workspace import Workspace, find_workspace

pytestmark = pytest.mark.whole

PATIENCE_S = 120.0
CELLS = 12
STEPS = CELLS + 2


class Arena:
    """A workspace and the processes that work on it."""

    def __init__(self, root: Path, database: str) -> None:
        self.folder, self.ledger = root / "workspace", root / "ledger"
        self.database = database
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, verb: str = "submit", **options: Any) -> subprocess.Popen[str]:
        """A worker on the grid of this test."""
        chosen = json.dumps({"cells": CELLS, "db": self.database, **options})
        module = "threedrs_workflows.testing.worker"
        process = subprocess.Popen(
            [sys.executable, "-m", module, str(self.folder), str(self.ledger), verb, chosen],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            # Also where these tests run under nohup, whose deafness a child would inherit.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )
        self.processes.append(process)
        return process

    def processes_of_ray(self, name: str) -> list[psutil.Process]:
        """Children of the last worker, which has started a Ray."""
        children = psutil.Process(self.processes[-1].pid).children()
        return [child for child in children if child.name() == name]

    def wait_for_executions(self, count: int) -> None:
        """Until so many executions have begun."""
        end = time.monotonic() + PATIENCE_S
        while self.executions() < count:
            assert time.monotonic() < end, "no worker gets on"
            time.sleep(0.005)

    def executions(self) -> int:
        """How many executions have begun."""
        return len(self.ledger.read_text().splitlines()) if self.ledger.exists() else 0

    def workspace(self) -> Workspace:
        """The workspace, for a look."""
        return find_workspace(str(self.folder), self.database, environment={})

    def attempts(self, state: str) -> list[str]:
        """Keys of steps with an attempt in a state, one entry per attempt."""
        table = schema.attempts
        with self.workspace() as workspace, workspace.database.read() as connection:
            query = select(table.c.step_key).where(table.c.state == state)
            return list(connection.scalars(query))

    def results(self) -> list[tuple[str, float]]:
        """Metrics of the last run by cell."""
        query = (
            select(schema.cell_steps.c.cell_id, schema.metrics.c.value)
            .join(schema.metrics, schema.metrics.c.step_key == schema.cell_steps.c.step_key)
            .where(schema.cell_steps.c.role == "result")
            .order_by(schema.cell_steps.c.cell_id)
            .distinct()
        )
        with self.workspace() as workspace, workspace.database.read() as connection:
            return [(cell, value) for cell, value in connection.execute(query)]

    def state(self) -> RunState:
        """State of the last run."""
        with self.workspace() as workspace:
            return workspace.runs.get("last").state


@pytest.fixture(params=database_kinds())
def arena(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Arena]:
    with fresh_database(request.param, tmp_path) as url:
        made = Arena(tmp_path, url)
        yield made
        for process in made.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.communicate()


EXPECTED = sorted((f"cell-{index}", float(index)) for index in range(CELLS))


def test_four_supervisors_commit_every_step_once(arena: Arena) -> None:
    workers = [arena.start(seconds=0.05) for _ in range(4)]
    assert [worker.wait(PATIENCE_S) for worker in workers] == [0, 0, 0, 0]
    committed = arena.attempts("committed")
    assert len(committed) == len(set(committed)) == STEPS
    assert arena.executions() == STEPS
    assert arena.results() == EXPECTED


@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_supervisor_loses_nothing(arena: Arena, seed: int) -> None:
    chance = random.Random(seed)
    worker = arena.start(seconds=0.05)
    arena.wait_for_executions(chance.randrange(1, STEPS - 2))
    time.sleep(chance.uniform(0, 0.1))
    worker.kill()
    worker.wait()
    done = len(arena.attempts("committed"))
    assert arena.start("resume", seconds=0.05).wait(PATIENCE_S) == 0
    committed = arena.attempts("committed")
    assert len(committed) == len(set(committed)) == STEPS
    assert arena.executions() <= STEPS + 2 and done < STEPS
    assert arena.state() is RunState.SUCCEEDED and arena.results() == EXPECTED
    assert not list((arena.folder / "scratch").iterdir())


@pytest.mark.slow
def test_it_survives_being_killed_again_and_again(arena: Arena) -> None:
    arena.start(seconds=0.05)
    for kills in range(3):
        arena.wait_for_executions(2 + 3 * kills)
        arena.processes[-1].kill()
        arena.processes[-1].wait()
        arena.start("resume", seconds=0.05)
    assert arena.processes[-1].wait(PATIENCE_S) == 0
    committed = arena.attempts("committed")
    assert len(committed) == len(set(committed)) == STEPS
    assert arena.results() == EXPECTED
    with arena.workspace() as workspace:
        run = workspace.runs.get("last").id
        numbers = [event.seq for event in read_events(workspace.database, run)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_zombie_that_wakes_after_its_lease_cannot_commit(arena: Arena) -> None:
    """Stopped in the middle of a step, outlived by its lease, then continued."""
    zombie = arena.start(seconds=0.4, lease_s=2.0, jobs=1)
    arena.wait_for_executions(2)
    time.sleep(0.1)  # past the transaction in which the step began: it would hold SQLite's lock
    zombie.send_signal(signal.SIGSTOP)
    heir = arena.start(seconds=0.4, lease_s=2.0, jobs=2)
    assert heir.wait(PATIENCE_S) == 0
    assert arena.executions() == STEPS + 1
    zombie.send_signal(signal.SIGCONT)
    assert zombie.wait(PATIENCE_S) == 0
    committed = arena.attempts("committed")
    assert len(committed) == len(set(committed)) == STEPS
    assert len(arena.attempts("lost")) == 1
    assert arena.results() == EXPECTED


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_ends_the_run_cleanly(arena: Arena, number: signal.Signals) -> None:
    worker = arena.start(seconds=0.3)
    arena.wait_for_executions(3)
    worker.send_signal(number)
    assert worker.wait(30) == 130
    assert arena.state() is RunState.INTERRUPTED and arena.attempts("running") == []
    assert arena.start("resume", seconds=0.3).wait(PATIENCE_S) == 0
    assert arena.results() == EXPECTED


@pytest.mark.ray
def test_a_local_ray_that_dies_is_started_again_and_ends_at_once_with_its_owner(
    tmp_path: Path,
) -> None:
    with fresh_database("sqlite", tmp_path) as url:
        arena = Arena(tmp_path, url)
        worker = arena.start(seconds=0.3, ray="local")
        arena.wait_for_executions(3)
        (raylet,) = arena.processes_of_ray("raylet")
        raylet.kill()
        arena.wait_for_executions(6)
        assert arena.attempts("failed") == [] and arena.attempts("lost") != []
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(PATIENCE_S) == 130
        assert "local Ray is lost: its raylet has ended; 2 attempts are" in worker.communicate()[1]
        assert arena.state() is RunState.INTERRUPTED and arena.attempts("running") == []
        heir = arena.start("resume")
        heir.communicate()
        assert heir.returncode == 0 and arena.results() == EXPECTED


@pytest.mark.ray
def test_nothing_of_a_local_ray_outlives_a_killed_owner(tmp_path: Path) -> None:
    with fresh_database("sqlite", tmp_path) as url:
        arena = Arena(tmp_path, url)
        worker = arena.start(seconds=0.3, ray="local")
        arena.wait_for_executions(2)
        of_ray = psutil.Process(worker.pid).children(recursive=True)
        worker.kill()
        worker.communicate()
        _, alive = psutil.wait_procs(of_ray, timeout=20)
        assert [each.name() for each in alive] == []
