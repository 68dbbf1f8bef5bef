"""Faults of processes, disks, clocks and servers. Each happens once, to a run that is at work."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from sqlalchemy import select

from threedrs_platform.database import schema
from threedrs_platform.testing.faulty_bucket import FAULTS
from threedrs_workflows.testing.chaos_arena import LEASE_S, PATIENCE_S, Arena, Place
from threedrs_workflows.testing.disturbances import spoil_file

Fault = Callable[[Arena], None]
DISK_MIB = 64
NO_STEPS = ("IDLE", "Dashboard", "RuntimeEnv")
"""How names of Ray's processes go on that execute no step; without its agents a raylet ends."""


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
    arena.start("submit")
    time.sleep(arena.chance.uniform(0, 2 * LEASE_S))
    sleeper.send_signal(signal.SIGCONT)


def second_owner(arena: Arena) -> None:
    """Somebody else submits the same grid."""
    arena.start("submit")


def jump_clock(arena: Arena) -> None:
    """The clock of the process jumps by up to two hours."""
    arena.worker.send_signal(signal.SIGUSR1)


def spoil_scratch(arena: Arena) -> None:
    """The process is killed, and files of unfinished work are flipped, cut, emptied or lost."""
    arena.worker.kill()
    arena.worker.wait()
    for file in (arena.root / "scratch").rglob("*"):
        with contextlib.suppress(OSError):
            if file.is_file():
                spoil_file(file, arena.chance)
    arena.start()


def spoil_memos(arena: Arena) -> None:
    """What is remembered of files and code is overwritten with rubbish."""
    for file in (arena.root / "cache").glob("*.json"):
        file.write_bytes(os.urandom(64))
    kill(arena)


def spoil_artifact(arena: Arena) -> None:
    """A file of a finished artifact is flipped, cut, emptied or lost."""
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
        spoil_file(arena.chance.choice(files), arena.chance)


def fill_disk(arena: Arena) -> None:
    """The disk of the workspace is full for a while."""
    filler = arena.folder / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(1))
    time.sleep(arena.chance.uniform(0.3, 1.5))
    filler.unlink()


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


def lose_requests(arena: Arena) -> None:
    """A fifth of all requests to the bucket fails, until the run's last fault is over."""
    assert arena.place.bucket is not None
    arena.place.bucket.refusal_rate = 0.2


def spoil_requests(arena: Arena) -> None:
    """Every fifth request meets another fault, until the run's last fault is over."""
    assert arena.place.bucket is not None
    arena.place.bucket.spoil(*FAULTS, every=5)


def kill_step(arena: Arena) -> None:
    """A worker process of Ray is killed in the middle of a step."""
    nodes = arena.place.nodes
    roots = nodes.raylets if nodes else [arena.worker.pid]
    found = []
    for root in roots:
        with contextlib.suppress(psutil.NoSuchProcess):
            found += psutil.Process(root).children(recursive=True)
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            room, _, what = process.name().partition("::")
            if room == "ray" and not what.startswith(NO_STEPS):
                process.kill()
                return


def lose_raylet(arena: Arena) -> None:
    """The raylet of a local Ray is killed."""
    for process in psutil.Process(arena.worker.pid).children():
        if process.name() == "raylet":
            process.kill()
            return


def lose_node(arena: Arena) -> None:
    """One of two nodes is lost, and another one comes."""
    assert arena.place.nodes is not None
    arena.place.nodes.lose_one()


def faults_at(place: Place) -> list[Fault]:
    """What can happen to runs at a place."""
    if place.nodes:
        return [kill, terminate, stop, kill_step, lose_node]
    if place.ray != "none":
        return [kill, terminate, stop, kill_step, lose_raylet]
    found = [kill, terminate, hang_up, stop, second_owner, jump_clock, spoil_scratch, spoil_memos]
    found += [cut_connections, restart_database] if place.postgres else [lock_database]
    if place.bucket:
        return [*found, refuse_requests, lose_requests, spoil_requests]
    return [*found, spoil_artifact, *([fill_disk] if can_mount() else [])]


def can_mount() -> bool:
    """Whether a small disk of one's own can be had here."""
    return os.geteuid() == 0 and shutil.which("mount") is not None


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """A folder that is a disk of its own."""
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "chaos", str(folder)]
    subprocess.run(words, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)
