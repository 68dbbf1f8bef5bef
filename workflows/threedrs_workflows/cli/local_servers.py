"""Web servers on this machine's loopback, each in a process of its own that ends with this one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from threedrs_platform.errors import StorageError, ThreedrsError
from threedrs_platform.shown_urls import without_secrets
from threedrs_platform.storage import place_errors

LOOPBACK = "127.0.0.1"
START_S = 120.0
"""MLflow creates its tables on first use; on a busy machine that takes its time."""
STOP_S = 10.0
TRIED_PORTS = 50


@dataclass(frozen=True)
class Server:
    """What to start."""

    name: str
    command: Sequence[str]
    port: int
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    """On top of this process's own."""

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"http://{LOOPBACK}:{self.port}"


def free_port(wanted: int) -> int:
    """The wanted port, or the next one that nobody listens on.

    Raises:
        StorageError: none of the next ones is free.
    """
    for port in range(wanted, wanted + TRIED_PORTS):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((LOOPBACK, port))
                return port
    raise StorageError(f"no free port from {wanted} on; choose another one")


@contextlib.contextmanager
def serving(servers: Sequence[Server]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start servers and wait until all of them answer; stop them at the end.

    Raises:
        ThreedrsError: one ended before it answered; says what it printed last.
    """
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for server in servers:
            processes.append(_start(server))
        for server, process in zip(servers, processes, strict=True):
            _wait_until_it_answers(server, process)
        yield processes
    finally:
        _stop(processes)


def _start(server: Server) -> subprocess.Popen[bytes]:
    with place_errors(f"write {server.log}"):
        server.log.parent.mkdir(parents=True, exist_ok=True)
        output = server.log.open("wb")
    with output:
        return subprocess.Popen(
            list(server.command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **server.environment},
            start_new_session=True,  # a server may have workers: all of them are stopped together
        )


def _wait_until_it_answers(server: Server, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise ThreedrsError(f"{server.name} did not start: {_last_words(server.log)}")
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, server.port), 1.0):
            return
        time.sleep(0.1)
    raise ThreedrsError(f"{server.name} does not answer after {START_S:.0f} s; see {server.log}")


def _last_words(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return without_secrets("\n".join(lines[-3:])) or f"it printed nothing; see {log}"


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
    for process in processes:
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
