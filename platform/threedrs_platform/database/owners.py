"""Who holds a lease: a process, named so that others can tell whether it still lives."""

from __future__ import annotations

import os
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Owner:
    """One supervisor of one process. Written as `host|pid|process start|uuid`."""

    host: str
    pid: int
    started: str
    token: str

    def __str__(self) -> str:
        return f"{self.host}|{self.pid}|{self.started}|{self.token}"

    def is_dead(self) -> bool:
        """Whether the process is provably gone. Of another host nothing can be proved."""
        if self.host != this_host():
            return False
        return process_start(self.pid) != self.started


def this_owner() -> Owner:
    """A new owner in this process."""
    return Owner(this_host(), os.getpid(), process_start(os.getpid()), uuid.uuid4().hex[:12])


def parse_owner(text: str) -> Owner:
    """The owner a string names."""
    host, pid, started, token = text.split("|")
    return Owner(host, int(pid), started, token)


def is_dead(text: str | None) -> bool:
    """Whether the owner of a lease is provably gone."""
    return text is not None and parse_owner(text).is_dead()


def is_at_work(text: str | None) -> bool:
    """Whether the owner of a lease is provably another process of this machine that goes on.

    Not one that is stopped, and not this process itself, which may have several owners.
    """
    if text is None:
        return False
    owner = parse_owner(text)
    if owner.host != this_host() or owner.pid == os.getpid() or owner.is_dead():
        return False
    return not is_stopped(owner.pid)


def is_stopped(pid: int) -> bool:
    """Whether a process is stopped, by SIGSTOP or a debugger; only Linux tells."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in "Tt"


def this_host() -> str:
    """Host name, boot and process namespace: only within these do process ids mean anything."""
    return "/".join([socket.gethostname(), _boot(), _namespace()])


def process_start(pid: int) -> str:
    """Start time of a process, empty if there is none (a zombie counts as none)."""
    proc = Path("/proc")
    if (proc / "self" / "stat").exists():
        return _start_ticks(proc / str(pid) / "stat")
    import psutil

    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.NoSuchProcess:
        return ""


def _start_ticks(stat: Path) -> str:
    """Clock ticks since boot; unlike wall-clock start times they never shift."""
    try:
        # The command's name stands in brackets and may hold spaces and brackets itself.
        fields = stat.read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    state, start = fields[0], fields[19]  # fields 3 and 22 of proc(5)
    return "" if state in "ZX" else start


def _boot() -> str:
    file = Path("/proc/sys/kernel/random/boot_id")
    return file.read_text()[:8] if file.exists() else "boot"


def _namespace() -> str:
    link = Path("/proc/self/ns/pid")
    return os.readlink(link).strip("pid:[]") if link.exists() else "0"
