"""Faults of processes, files, database and bucket while runs go on: what was lost, what done twice.

    python tests/bench/chaos.py [--faults 1000] [--database sqlite|postgresql] [--store folder|s3]
                                [--ray none|local|ADDRESS] [--only kill,stop] [--seed 0] [--json]

Each run works on a grid of small steps in processes of its own and meets several faults of one
kind at random moments; then it is resumed until it ends. A PostgreSQL server and a bucket are
started here and stopped again. The promise: no result is lost or differs, no step is committed
twice, nothing finished is done again unless its artifact was damaged. Exit 1 if it is broken.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select

from threedrs_platform.database import schema
from threedrs_platform.database.events import read_events
from threedrs_platform.states import AttemptState, RunState
from threedrs_platform.testing.faulty_bucket import FaultyBucket
from threedrs_platform.testing.postgres_server import PostgresServer
from threedrs_platform.workspace import Workspace, find_workspace

CELLS = 24
FAULTS_PER_RUN = 5
PATIENCE_S = 180.0
LEASE_S = 1.5
STEP_S = 0.08
EXPECTED = sorted((f"cell-{index}", float(index)) for index in range(CELLS))


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
    """Steps that began again after their commit although their artifact was good."""
    notes: list[str] = field(default_factory=list)

    @property
    def is_kept(self) -> bool:
        """Whether the promise was kept."""
        return not (self.lost or self.differing or self.twice or self.redone)


class Arena:
    """One run: a workspace, and the processes that work on it."""

    def __init__(
        self, folder: Path, place: Place, ray: str, chance: random.Random, number: int
    ) -> None:
        self.folder, self.place, self.ray, self.chance = folder, place, ray, chance
        self.database, self.artifacts = place.database(folder), place.artifacts(number)
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
        options = {"cells": CELLS, "seconds": STEP_S, "lease_s": LEASE_S, "db": self.database}
        options |= {"store": self.artifacts, "ray": self.ray}
        module = "threedrs_workflows.testing.worker"
        arguments = [str(self.root), str(self.folder / "ledger"), verb, json.dumps(options)]
        with (self.folder / "output").open("ab") as output:
            worker = subprocess.Popen(
                [sys.executable, "-m", module, *arguments], stdout=output, stderr=output
            )
        self.workers.append(worker)
        return worker

    @property
    def worker(self) -> subprocess.Popen[bytes]:
        """The newest supervisor, started again if it has ended unfinished."""
        if self.workers[-1].poll() not in (None, 0):
            self.ended += 1
            self.start()
        return self.workers[-1]

    def executions(self) -> int:
        """How many executions have begun."""
        ledger = self.folder / "ledger"
        return len(ledger.read_text().splitlines()) if ledger.exists() else 0

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
        for _ in range(4):
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
        return find_workspace(str(self.root), self.database, self.artifacts, environment={})

    def stop(self) -> None:
        """End what still runs."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGCONT)
                worker.kill()
            worker.wait()

    def judge(self, tally: Tally) -> None:
        """Compare what is in the database with the promise."""
        table = schema.attempts
        with self.workspace() as workspace, workspace.database.read() as connection:
            done = Counter(
                connection.scalars(
                    select(table.c.step_key).where(table.c.state == AttemptState.COMMITTED)
                )
            )
            results = connection.execute(
                select(schema.cell_steps.c.cell_id, schema.metrics.c.value)
                .join(schema.metrics, schema.metrics.c.step_key == schema.cell_steps.c.step_key)
                .where(schema.cell_steps.c.role == "result")
                .distinct()
            )
            found = sorted((cell, value) for cell, value in results)
            run_id = workspace.runs.get("last").id
            numbers = [event.seq for event in read_events(workspace.database, run_id)]
        good = [key for key in done if key not in self.damaged]
        tally.twice += sum(done[key] > 1 for key in good)
        tally.redone += sum(max(0, self._begun_after_commit(key)) for key in good if done[key] > 1)
        tally.differing += found != EXPECTED or numbers != [*range(1, len(numbers) + 1)]

    def _begun_after_commit(self, key: str) -> int:
        table = schema.attempts
        with self.workspace() as workspace, workspace.database.read() as connection:
            rows = list(connection.execute(select(table).where(table.c.step_key == key)))
        committed = [row.n for row in rows if row.state == AttemptState.COMMITTED]
        return sum(row.n > min(committed) for row in rows)


class Place:
    """Where databases and stores of a bench are."""

    def __init__(self, postgres: PostgresServer | None, bucket: FaultyBucket | None) -> None:
        self.postgres, self.bucket = postgres, bucket

    def database(self, folder: Path) -> str | None:
        """A fresh database, None for the workspace's own file."""
        return self.postgres.fresh_database() if self.postgres else None

    def artifacts(self, number: int) -> str | None:
        """A fresh store, None for the workspace's own folder."""
        return f"s3://{self.bucket.name}/run-{number}" if self.bucket else None


# Faults. Each happens once, to a run that is at work.


def kill(arena: Arena) -> None:
    """The process is killed, like by the kernel."""
    arena.worker.kill()
    arena.worker.wait()
    arena.start()


def terminate(arena: Arena) -> None:
    """The machine is taken away with notice."""
    _signalled(arena, signal.SIGTERM)


def hang_up(arena: Arena) -> None:
    """The terminal is closed."""
    _signalled(arena, signal.SIGHUP)


def _signalled(arena: Arena, number: signal.Signals) -> None:
    arena.worker.send_signal(number)
    arena.workers[-1].wait(PATIENCE_S)
    arena.start()


def stop(arena: Arena) -> None:
    """The process sleeps past its leases, another takes over, the first wakes."""
    sleeper = arena.worker
    sleeper.send_signal(signal.SIGSTOP)
    time.sleep(arena.chance.uniform(0, 2 * LEASE_S))
    heir = arena.start("submit")
    time.sleep(arena.chance.uniform(0, 2 * LEASE_S))
    sleeper.send_signal(signal.SIGCONT)
    del heir


def second_owner(arena: Arena) -> None:
    """Somebody else submits the same grid."""
    arena.start("submit")


def flip_artifact(arena: Arena) -> None:
    """A byte of a finished artifact changes."""
    _spoil_artifact(arena, _flip)


def lose_artifact(arena: Arena) -> None:
    """A file of a finished artifact is gone."""
    _spoil_artifact(arena, Path.unlink)


def _spoil_artifact(arena: Arena, spoil: Callable[[Path], None]) -> None:
    with arena.workspace() as workspace, workspace.database.read() as connection:
        table = schema.steps
        query = select(table.c.key, table.c.output_digest).where(table.c.state == "succeeded")
        done = sorted((key, digest) for key, digest in connection.execute(query))
    if not done:
        return
    key, digest = arena.chance.choice(done)
    arena.damaged.add(key)
    with contextlib.suppress(Exception), arena.workspace() as workspace:
        folder = workspace.store.checkout(digest)
        files = [file for file in folder.rglob("*") if file.is_file()]
        spoil(arena.chance.choice(files))


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(bytes(data))


def spoil_scratch(arena: Arena) -> None:
    """The process is killed, and files of unfinished work are cut or flipped."""
    arena.worker.kill()
    arena.worker.wait()
    for file in (arena.root / "scratch").rglob("*"):
        with contextlib.suppress(OSError):
            if file.is_file() and file.stat().st_size:
                data = file.read_bytes()
                half = data[: arena.chance.randrange(len(data))]
                file.write_bytes(half) if arena.chance.random() < 0.5 else _flip(file)
    arena.start()


def spoil_memos(arena: Arena) -> None:
    """What is remembered of files and code is overwritten with rubbish."""
    for file in (arena.root / "cache").glob("*.json"):
        file.write_bytes(os.urandom(64))
    kill(arena)


def lock_database(arena: Arena) -> None:
    """Somebody holds SQLite's write lock for a while."""
    with contextlib.closing(sqlite3.connect(arena.root / "results.db", timeout=30)) as holder:
        holder.isolation_level = None
        holder.execute("BEGIN IMMEDIATE")
        time.sleep(arena.chance.uniform(0.2, 3.0))
        holder.execute("ROLLBACK")


def cut_connections(arena: Arena) -> None:
    """The database server ends all connections."""
    assert arena.place.postgres is not None
    arena.place.postgres.end_connections()


def restart_database(arena: Arena) -> None:
    """The database server is restarted, gently or not, and may be away for a while."""
    assert arena.place.postgres is not None
    mode, down_s = arena.chance.choice(["fast", "immediate"]), arena.chance.uniform(0.0, 2.0)
    arena.place.postgres.restart(mode, down_s)


def refuse_requests(arena: Arena) -> None:
    """The bucket answers 503 for a while."""
    assert arena.place.bucket is not None
    arena.place.bucket.refuse_for(arena.chance.uniform(0.5, 4.0))


def lossy_requests(arena: Arena) -> None:
    """A fifth of all requests to the bucket fails."""
    assert arena.place.bucket is not None
    arena.place.bucket.refusal_rate = 0.2


EVERYWHERE = [kill, terminate, hang_up, stop, second_owner, spoil_scratch, spoil_memos]
IN_FOLDERS = [flip_artifact, lose_artifact]
ON_SQLITE = [lock_database]
ON_POSTGRESQL = [cut_connections, restart_database]
IN_BUCKETS = [refuse_requests, lossy_requests]


def one_run(arena: Arena, fault: Callable[[Arena], None], tally: Tally) -> None:
    """A run from its submission to its judgement."""
    tally.runs += 1
    try:
        arena.start("submit")
        for _ in range(FAULTS_PER_RUN):
            if not arena.wait_for_work():
                break
            fault(arena)
            tally.faults += 1
        if arena.place.bucket:
            arena.place.bucket.refusal_rate = 0.0
        if arena.finish():
            arena.judge(tally)
        else:
            tally.lost += 1
            tally.notes.append((arena.folder / "output").read_text(errors="replace")[-2000:])
    finally:
        tally.ended += arena.ended
        arena.stop()


@contextlib.contextmanager
def places(database: str, store: str) -> Iterator[Place]:
    """Servers, for as long as they are needed."""
    with contextlib.ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer()) if database == "postgresql" else None
        bucket = stack.enter_context(FaultyBucket()) if store == "s3" else None
        if bucket:
            os.environ |= bucket.environment
        yield Place(postgres, bucket)


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faults", type=int, default=200, help="about how many (default: 200)")
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--store", choices=["folder", "s3"], default="folder")
    parser.add_argument("--ray", default="none", help="none, local, or an address (default: none)")
    parser.add_argument("--only", default="", help="names of faults, separated by commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    faults = EVERYWHERE + (ON_SQLITE if args.database == "sqlite" else ON_POSTGRESQL)
    faults = faults + (IN_FOLDERS if args.store == "folder" else IN_BUCKETS)
    if args.only:
        faults = [fault for fault in faults if fault.__name__ in args.only.split(",")]
    tallies = {fault.__name__: Tally() for fault in faults}
    chance, number = random.Random(args.seed), 0
    root = Path(tempfile.mkdtemp(prefix="chaos-"))
    with places(args.database, args.store) as place:
        while sum(tally.faults for tally in tallies.values()) < args.faults:
            fault = faults[number % len(faults)]
            folder = root / f"{number}-{fault.__name__}"
            folder.mkdir()
            tally = tallies[fault.__name__]
            arena = Arena(folder, place, args.ray, chance, number)
            one_run(arena, fault, tally)
            if tally.is_kept:
                shutil.rmtree(folder, ignore_errors=True)
            number += 1
            print(f"{number}: {fault.__name__} {_row(tally)}", file=sys.stderr, flush=True)
    return _tell(args, tallies, root)


def _row(tally: Tally) -> str:
    equal = f"{tally.differing} NOT" if tally.differing else "yes"
    return (
        f"{tally.faults:6} {tally.runs:5} {tally.ended:6} {tally.lost:5} "
        f"{tally.twice:6} {tally.redone:7} {equal:>6}"
    )


def _tell(args: argparse.Namespace, tallies: dict[str, Tally], root: Path) -> int:
    where = {"database": args.database, "store": args.store, "ray": args.ray, "seed": args.seed}
    if args.json:
        rows = {name: vars(tally) for name, tally in tallies.items()}
        print(json.dumps({"schema": "bench.chaos/1", **where, "faults": rows}))
    else:
        print(", ".join(f"{name} {value}" for name, value in where.items()))
        print(
            f"{'fault':18} {'faults':>6} {'runs':>5} {'ended':>6} {'lost':>5} "
            f"{'twice':>6} {'redone':>7}  equal"
        )
        for name, tally in tallies.items():
            print(f"{name:18} {_row(tally)}")
    if all(tally.is_kept for tally in tallies.values()):
        shutil.rmtree(root, ignore_errors=True)
        return 0
    print(f"broken promises; what is left lies in {root}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
