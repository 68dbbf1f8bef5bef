"""PostgreSQL restarted in the middle of runs, fast and immediately: nothing lost, nothing twice.

    python tests/bench/server_restarts.py [RUNS]

Starts a server of its own (Debian's packages; as root it runs as the user postgres).
"""

import contextlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import create_engine, select, text

from threedrs_platform.database import schema
from threedrs_platform.database.events import read_events
from threedrs_platform.workspace import find_workspace

PORT = 55447
CELLS, RESTARTS = 40, 3
SERVER = f"postgresql+psycopg://postgres@127.0.0.1:{PORT}/"


class Server:
    """A PostgreSQL server in a folder."""

    def __init__(self, folder: Path) -> None:
        self._programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        self._data = folder / "data"
        if os.geteuid() == 0:
            folder.chmod(0o755)
            subprocess.run(["install", "-d", "-o", "postgres", self._data], check=True)
        self._run("initdb", "-D", str(self._data), "-A", "trust", "-U", "postgres")

    def start(self) -> None:
        """Start and wait until it answers."""
        options = f"-p {PORT} -k {self._data}"
        self._run(
            "pg_ctl", "-D", str(self._data), "-o", options, "-l", f"{self._data}/log", "start"
        )

    def stop(self, mode: str) -> None:
        """Stop: `fast` ends all connections, `immediate` is a crash."""
        self._run("pg_ctl", "-D", str(self._data), "-m", mode, "stop")

    def _run(self, program: str, *arguments: str) -> None:
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        command = [*(user if os.geteuid() == 0 else []), str(self._programs / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")


@contextlib.contextmanager
def fresh_database(name: str) -> Iterator[str]:
    """URL of an empty database of the server."""
    engine = create_engine(f"{SERVER}postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    yield f"{SERVER}{name}"


def disturbed_run(server: Server, mode: str, seed: int, folder: Path) -> str:
    """One run, and what became of it."""
    chance = random.Random(seed)
    with fresh_database(f"run{seed}") as url:
        ledger = folder / "ledger"
        options = json.dumps({"cells": CELLS, "db": url, "seconds": 0.05})
        module = "threedrs_workflows.testing.worker"
        command = [sys.executable, "-m", module, str(folder / "ws"), str(ledger), "submit", options]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as worker:
            while not ledger.exists():
                time.sleep(0.01)
            for _ in range(RESTARTS):
                time.sleep(chance.uniform(0.1, 0.6))
                server.stop(mode)
                time.sleep(chance.choice([0.0, chance.uniform(0, 2)]))
                server.start()
            code = worker.wait(300)
        with find_workspace(str(folder / "ws"), url, environment={}) as workspace:
            attempts = schema.attempts
            with workspace.database.read() as connection:
                committed = select(attempts.c.step_key).where(attempts.c.state == "committed")
                keys = list(connection.scalars(committed))
            run = workspace.runs.get("last")
            numbers = [event.seq for event in read_events(workspace.database, run.id)]
    lost, twice = CELLS + 2 - len(set(keys)), len(keys) - len(set(keys))
    again = len(ledger.read_text().splitlines()) - len(keys)
    gaps = numbers != list(range(1, len(numbers) + 1))
    return f"{mode:10}{run.state} exit {code}, lost {lost}, twice {twice}, {again=}, {gaps=}"


def main() -> None:
    """Print a line per run."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with tempfile.TemporaryDirectory() as place:
        server = Server(Path(place))
        server.start()
        try:
            for seed in range(runs):
                folder = Path(place) / str(seed)
                folder.mkdir()
                print(disturbed_run(server, ("fast", "immediate")[seed % 2], seed, folder))
        finally:
            server.stop("immediate")


if __name__ == "__main__":
    main()
