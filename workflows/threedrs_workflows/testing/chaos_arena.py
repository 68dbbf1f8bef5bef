"""One run that processes work on while faults happen to them, and where it keeps its things."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from threedrs_platform.states import RunState
from threedrs_platform.testing.faulty_bucket import FaultyBucket
from threedrs_platform.testing.postgres_server import PostgresServer
from threedrs_platform.workspace import Workspace, find_workspace
from threedrs_workflows.testing.promises import has_gaps, repeats, results

CELLS = 24
PATIENCE_S = 240.0
LEASE_S = 1.5
RESUMED = 8
"""How often a run is resumed after its last fault before it counts as lost."""
STARTS = 4
"""How often a node of Ray is started before it counts as impossible."""
STEP_S = 0.08
NUMBERS = 10
"""That a step adds up; see `fake_steps.accumulate`."""


def expected(cells: int) -> list[tuple[str, float]]:
    """The results of an undisturbed run."""
    return sorted(
        (f"cell-{index}", float(sum((number + index) ** 2 for number in range(NUMBERS))))
        for index in range(cells)
    )


@dataclass
class Tally:
    """What came of one kind of fault."""

    faults: int = 0
    runs: int = 0
    ended: int = 0
    """Supervisors that ended unfinished although nobody had stopped them."""
    lost: int = 0
    """Runs that could not be brought to their end."""
    differing: int = 0
    """Runs whose results differ from those of an undisturbed one, or whose events have gaps."""
    twice: int = 0
    """Steps that were committed twice although their artifact was good."""
    redone: int = 0
    """Attempts that began after their step's commit although its artifact was good."""
    notes: list[str] = field(default_factory=list)

    @property
    def is_kept(self) -> bool:
        """Whether the promise was kept."""
        return not (self.lost or self.differing or self.twice or self.redone)


class TwoNodes:
    """Context in which a Ray of two raylets runs on this machine; one of them can be lost."""

    def __enter__(self) -> TwoNodes:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 1, "include_dashboard": False}
        self._cluster: Any = _patiently(lambda: Cluster(initialize_head=True, head_node_args=head))
        self._add_other()
        return self

    def _add_other(self) -> None:
        self._other = _patiently(lambda: self._cluster.add_node(num_cpus=1))

    def __exit__(self, *exception: object) -> None:
        self._cluster.shutdown()

    @property
    def address(self) -> str:
        """For `--ray`."""
        return str(self._cluster.address)

    @property
    def raylets(self) -> list[int]:
        """Process ids of both."""
        nodes = self._cluster.list_all_nodes()
        return [each.process.pid for node in nodes for each in node.all_processes["raylet"]]

    def lose_one(self) -> None:
        """Kill the raylet that is not the head's, and have another come in its place."""
        self._cluster.remove_node(self._other, allow_graceful=False)
        self._add_other()


def _patiently(start: Callable[[], Any]) -> Any:
    """Start a node again if Ray gave it up: its half a minute is short on a busy machine."""
    for _ in range(STARTS - 1):
        with contextlib.suppress(Exception):  # Ray raises nothing more special
            return start()
    return start()


@dataclass
class Place:
    """Where databases, stores and Rays of a bench are."""

    postgres: PostgresServer | None = None
    bucket: FaultyBucket | None = None
    ray: str = "none"
    """none, local, or two nodes."""
    nodes: TwoNodes | None = None

    def database(self) -> str:
        """A fresh database, empty for the workspace's own file."""
        return self.postgres.fresh_database() if self.postgres else ""

    def store(self, name: str) -> str:
        """A fresh store, empty for the workspace's own folder."""
        return f"s3://{self.bucket.name}/{name}" if self.bucket else ""

    @property
    def address(self) -> str:
        """For `--ray`."""
        return self.nodes.address if self.nodes else self.ray


@contextlib.contextmanager
def open_place(database: str, store: str, ray: str) -> Iterator[Place]:
    """Servers, for as long as they are needed.

    Args:
        database: sqlite or postgresql.
        store: folder or s3.
        ray: none, local or nodes.
    """
    with contextlib.ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer()) if database == "postgresql" else None
        bucket = stack.enter_context(FaultyBucket()) if store == "s3" else None
        if bucket:
            os.environ |= bucket.environment
        nodes = stack.enter_context(TwoNodes()) if ray == "nodes" else None
        yield Place(postgres, bucket, ray, nodes)


class Arena:
    """One run: a workspace, and the processes that work on it."""

    def __init__(self, folder: Path, place: Place, chance: random.Random, name: str) -> None:
        self.folder, self.place, self.chance = folder, place, chance
        self.cells = CELLS if place.ray == "none" else CELLS // 2
        self.step_s = STEP_S if place.ray == "none" else 4 * STEP_S
        self.database, self.store = place.database(), place.store(name)
        self.workers: list[subprocess.Popen[bytes]] = []
        self.ended = 0
        self.damaged: set[str] = set()
        """Keys of steps whose artifact a fault has spoilt."""

    @property
    def root(self) -> Path:
        """The workspace's folder."""
        return self.folder / "workspace"

    def start(self, verb: str = "resume") -> subprocess.Popen[bytes]:
        """One more supervisor."""
        options: dict[str, Any] = {
            "cells": self.cells,
            "result": "accumulate",
            "seconds": self.step_s,
            "lease_s": LEASE_S,
            "db": self.database or None,
            "store": self.store or None,
            "ray": self.place.address,
        }
        module = "threedrs_workflows.testing.worker"
        words = [str(self.root), str(self._ledger), verb, json.dumps(options)]
        with self.output.open("ab") as output:
            worker = subprocess.Popen(
                [sys.executable, "-m", module, *words], stdout=output, stderr=output
            )
        self.workers.append(worker)
        return worker

    @property
    def output(self) -> Path:
        """What supervisors say; beside the folder, which may be a disk that is full."""
        return self.folder.with_name(f"{self.folder.name}.output")

    @property
    def _ledger(self) -> Path:
        """A line per execution; beside the folder, too."""
        return self.folder.with_name(f"{self.folder.name}.ledger")

    @property
    def worker(self) -> subprocess.Popen[bytes]:
        """The newest supervisor, started again if it has ended unfinished."""
        if self.workers[-1].poll() not in (None, 0):
            self.ended += 1
            self.start()
        return self.workers[-1]

    def executions(self) -> int:
        """How many executions have begun."""
        return len(self._ledger.read_text().splitlines()) if self._ledger.exists() else 0

    def wait_for_work(self) -> bool:
        """Until a few more steps have begun; False if the run is over before."""
        aim = self.executions() + self.chance.randrange(1, 3)
        end = time.monotonic() + PATIENCE_S
        while self.executions() < aim:
            if self.worker.poll() == 0 or time.monotonic() > end:
                return False
            time.sleep(0.01)
        time.sleep(self.chance.uniform(0, 0.1))
        return True

    def finish(self) -> bool:
        """Resume until the run has succeeded."""
        for _ in range(RESUMED):
            for worker in self.workers:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.wait(PATIENCE_S)
            if all(worker.poll() is not None for worker in self.workers) and self._is_done():
                return True
            self.ended += 1
            self.start()
        return False

    def _is_done(self) -> bool:
        with self.workspace() as workspace:
            return workspace.runs.get("last").state is RunState.SUCCEEDED

    def workspace(self) -> Workspace:
        """The workspace, for a look."""
        return find_workspace(str(self.root), self.database, self.store, environment={})

    def stop(self) -> None:
        """End what still runs."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGCONT)
                worker.kill()
            worker.wait()

    def judge(self, tally: Tally) -> None:
        """Compare what is in the database with the promise."""
        with self.workspace() as workspace:
            repeated = repeats(workspace, self.damaged)
            found = results(workspace)
            gaps = has_gaps(workspace, workspace.runs.get("last").id)
        tally.twice += repeated.committed
        tally.redone += repeated.redone
        tally.differing += found != expected(self.cells) or gaps
