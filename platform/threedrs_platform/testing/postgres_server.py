"""A PostgreSQL server of one's own, to be restarted in the middle of things."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

from sqlalchemy import URL, create_engine, text

USER = "postgres"
PORTS = range(20_000, 30_000)
PATIENCE = ("-t", "300")
"""Seconds that a busy machine has to start or stop it."""


def postgres_programs() -> Path | None:
    """Folder of `initdb` and `pg_ctl` of the newest version that is installed, None without one."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def _free_port() -> int:
    """A port below those of clients: one of them could take it while the server is away."""
    for port in random.sample(PORTS, len(PORTS)):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError(f"every port of {PORTS} is taken")


class PostgresServer:
    """Context in which a server with an empty data folder answers on a free local port."""

    def __init__(self) -> None:
        programs = postgres_programs()
        if programs is None:
            raise FileNotFoundError("PostgreSQL's programs are not in /usr/lib/postgresql")
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._port = _free_port()

    def __enter__(self) -> PostgresServer:
        if os.geteuid() == 0:  # the server refuses to run as root
            shutil.chown(self._folder, USER)
        self._call("initdb", "-D", self._data, "-A", "trust", "-U", USER, "--no-sync")
        self._start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._call("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(self._folder, ignore_errors=True)

    def fresh_database(self) -> str:
        """URL of a new, empty database."""
        name = f"chaos_{uuid.uuid4().hex[:12]}"
        self._tell(f'CREATE DATABASE "{name}"')
        return self._url(name).render_as_string(hide_password=False)

    def end_connections(self) -> None:
        """End every connection but the one that asks for it."""
        self._tell(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

    def restart(self, mode: str, down_s: float = 0.0) -> None:
        """Stop and start the server.

        Args:
            mode: "fast" ends connections in order, "immediate" is a crash.
            down_s: how long nobody answers in between.
        """
        self._call("pg_ctl", "-D", self._data, "-m", mode, "-w", *PATIENCE, "stop")
        time.sleep(down_s)
        self._start()

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def _url(self, database: str) -> URL:
        return URL.create(
            "postgresql+psycopg", USER, host="127.0.0.1", port=self._port, database=database
        )

    def _start(self) -> None:
        options = f"-p {self._port} -c listen_addresses=127.0.0.1 -k {self._folder}"
        log = str(self._folder / "log")
        self._call("pg_ctl", "-D", self._data, "-o", options, "-l", log, "-w", *PATIENCE, "start")

    def _call(self, program: str, *arguments: str) -> None:
        def become_its_user() -> None:
            account = pwd.getpwnam(USER)
            os.setgid(account.pw_gid)
            os.setuid(account.pw_uid)

        subprocess.run(
            [self._programs / program, *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd="/",
            preexec_fn=become_its_user if os.geteuid() == 0 else None,
        )

    def _tell(self, statement: str) -> None:
        engine = create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()
