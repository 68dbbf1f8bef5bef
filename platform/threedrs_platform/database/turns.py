"""Transactions that were lost through no fault of their own, and how long they are tried again."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import exc

from threedrs_platform.database.owners import is_stopped
from threedrs_platform.errors import StorageError
from threedrs_platform.shown_urls import without_secrets

if TYPE_CHECKING:
    from threedrs_platform.database.connection import Database

PATIENCE_S = 300.0
"""How long to go on asking for SQLite's write lock (its queue is not fair, and disks stall), or for
a PostgreSQL server that went away."""
FAULT_PATIENCE_S = 10.0
"""How long a disk is asked again that reports an error."""
HELD_PATIENCE_S = 30.0
"""How long to wait for a lock whose holder is stopped."""
STOP_PATIENCE_S = 5.0
"""How long to go on once the user wants to stop."""

_LOST = {"25P03", "40001", "40P01", "53300", "55P03", "57P01", "57P02", "57P03", "57P05"}
"""PostgreSQL's codes for: idle too long, conflicts, no connection left, shut down, starting."""

P = ParamSpec("P")
T = TypeVar("T")
Holder = TypeVar("Holder")


class TurnLost(StorageError):
    """A transaction has not happened; the same again may succeed."""

    def __init__(self, message: str, patience_s: float = PATIENCE_S) -> None:
        self.patience_s = patience_s
        super().__init__(message)

    def __reduce__(self) -> tuple[type[TurnLost], tuple[str, float]]:
        return type(self), (str(self), self.patience_s)


def patience_with(error: exc.StatementError) -> float | None:
    """Seconds that a transaction may be tried again after an error; None where it is of no use."""
    code = getattr(error.orig, "sqlstate", None) or ""
    is_cut = isinstance(error, exc.DBAPIError) and error.connection_invalidated
    if is_cut or code in _LOST or code.startswith("08"):
        return PATIENCE_S
    reason = str(error.orig)
    if "database is locked" in reason or "database table is locked" in reason:
        return PATIENCE_S
    return FAULT_PATIENCE_S if "disk I/O error" in reason else None


def whole_turn(method: Callable[Concatenate[Holder, P], T]) -> Callable[Concatenate[Holder, P], T]:
    """Make a function one transaction that is tried again when it is lost.

    Its first argument is a `Database`, or holds one as `database`. Within a transaction of the
    same thread it is a part of that one, and lost and tried again with it.
    """

    @functools.wraps(method)
    def whole(holder: Holder, /, *args: P.args, **named: P.kwargs) -> T:
        held: Any = holder
        database: Database = getattr(held, "database", getattr(held, "_database", held))
        return database.patiently(lambda: method(holder, *args, **named))

    return whole


def lock_holder(file: Path) -> tuple[str, bool]:
    """Who holds the write lock of an SQLite file, in words, and whether that process is stopped.

    Only Linux tells; the file itself is never opened, which would drop our own locks on it.
    """
    return holder_of(file.with_name(f"{file.name}-shm"))


def holder_of(locked: Path) -> tuple[str, bool]:
    """Who has locked a file, in words, and whether that process is stopped."""
    pid = _holder(locked)
    if pid is None:
        return "another process", False
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return f"process {pid}", False
    command = without_secrets(" ".join(words.replace("\0", " ").split()))
    return f"process {pid} ({command[:80]})", is_stopped(pid)


WRITE_LOCK_BYTE = 120
"""Place of the write lock in the shared-memory file of SQLite's write-ahead log."""


def _holder(locked: Path) -> int | None:
    try:
        inode = locked.stat().st_ino
        lines = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        words: list[Any] = line.split()
        # "1: POSIX ADVISORY WRITE 1234 fd:01:5678 120 120"; a waiting one has "->" before its kind
        if len(words) != 8 or words[3] != "WRITE" or not words[5].endswith(f":{inode}"):
            continue
        end = float("inf") if words[7] == "EOF" else int(words[7])
        if int(words[6]) <= WRITE_LOCK_BYTE <= end:
            return int(words[4])
    return None
