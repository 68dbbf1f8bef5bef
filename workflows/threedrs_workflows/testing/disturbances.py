"""Faults in this process, by their numbers: full disks, clocks that jump, files that change."""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from sqlalchemy import event

from threedrs_platform.compute import attempts
from threedrs_platform.compute.attempts import AttemptRequest
from threedrs_platform.compute.in_process import Handle, InProcessCompute
from threedrs_platform.database.connection import Database
from threedrs_platform.steps import StepTask
from threedrs_platform.store.local import LocalStore
from threedrs_platform.store.open import open_store

UNIX_EPOCH_DAYS, DAY_S = 2440587.5, 86400.0
LONGEST_JUMP_S = 7200.0


class FullDisk:
    """A disk below a folder that is full at the moments that are told by number."""

    def __init__(self, root: Path, first: int, every: int = 0) -> None:
        """Be full for one call.

        Args:
            root: only what lies below it.
            first: number of the first call that finds it full; 0 for none.
            every: after each, how many until the next; 0 for none.
        """
        self._root, self._next, self._every = str(root), first, every
        self._counting = threading.Lock()
        self.seen = self.met = 0

    def __enter__(self) -> FullDisk:
        self._patches = contextlib.ExitStack()
        for name in ("mkdir", "rename", "replace", "link"):
            real = getattr(os, name)
            self._patches.enter_context(mock.patch.object(os, name, self._failing(real)))
        opening = self._opening(io.open)
        for module in (builtins, io):
            self._patches.enter_context(mock.patch.object(module, "open", opening))
        return self

    def __exit__(self, *exception: object) -> None:
        self._patches.close()

    def _failing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *rest: Any, **named: Any) -> Any:
            self._count(path)
            return real(path, *rest, **named)

        return call

    def _opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, mode: str = "r", *rest: Any, **named: Any) -> Any:
            if set(mode) & set("wax+"):
                self._count(file)
            return real(file, mode, *rest, **named)

        return call

    def _count(self, path: Any) -> None:
        if not isinstance(path, str | os.PathLike) or not os.fspath(path).startswith(self._root):
            return
        with self._counting:
            self.seen += 1
            if self.seen != self._next:
                return
            self.met += 1
            self._next += self._every
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))


class JumpingClock:
    """The time of day of this process, for Python and for SQLite. It jumps."""

    def __init__(self, database: Database, chance: random.Random, every: int) -> None:
        """Jump at every so manieth look at it; 0 for only when it is told.

        Args:
            database: whose clock jumps, too, if it is SQLite's.
            chance: draws how far.
            every: looks between two jumps.
        """
        self._database, self._chance, self._every = database, chance, every
        self._real, self._offset = time.time, 0.0
        self._counting = threading.Lock()
        self.seen = self.met = 0

    def __enter__(self) -> JumpingClock:
        if self._database.is_sqlite:
            self._database.engine.dispose()
            event.listen(self._database.engine, "connect", self._configure)
        self._patch = mock.patch.object(time, "time", self._now)
        self._patch.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._patch.stop()

    def jump(self) -> None:
        """Jump now; may be called by a handler of signals."""
        self.met += 1
        self._offset = self._chance.uniform(-LONGEST_JUMP_S, LONGEST_JUMP_S)

    def _configure(self, connection: Any, record: Any) -> None:
        connection.create_function("julianday", 1, self._julian_day)

    def _julian_day(self, _: str) -> float:
        return self._now() / DAY_S + UNIX_EPOCH_DAYS

    def _now(self) -> float:
        with self._counting:
            self.seen += 1
            is_due = self._every and self.seen % self._every == 0
        if is_due:
            self.jump()
        return self._real() + self._offset


class SpoilingCompute(InProcessCompute):
    """Before an attempt begins, the disk spoils what earlier ones left, or what it is to read."""

    def __init__(self, jobs: int, chance: random.Random, inputs: bool = False) -> None:
        """Spoil once per step.

        Args:
            jobs: attempts at a time.
            chance: draws what is spoilt, and how.
            inputs: artifacts of earlier steps; else unfinished work.
        """
        super().__init__(jobs)
        self._chance, self._inputs = chance, inputs
        self._spoilt: set[str] = set()
        self.met = 0
        self.digests: set[str] = set()
        """Artifacts that were spoilt."""

    def submit(self, request: AttemptRequest) -> Handle:
        """Spoil, then start the attempt."""
        if request.step_key not in self._spoilt:
            count = self._spoil_inputs(request) if self._inputs else self._spoil_work(request)
            if count:
                self._spoilt.add(request.step_key)
            self.met += count
        return super().submit(request)

    def _spoil_work(self, request: AttemptRequest) -> int:
        scratch = Path(request.scratch)
        inside = scratch.parent.glob(f"{scratch.name}*/**/*")
        found = sorted(path for path in inside if path.is_file())
        chosen = self._chance.sample(found, min(len(found), self._chance.choice((1, 2))))
        for path in chosen:
            spoil_file(path, self._chance)
        return len(chosen)

    def _spoil_inputs(self, request: AttemptRequest) -> int:
        fresh = sorted(set(request.inputs.values()) - self.digests)
        if not fresh or self._chance.random() < 0.3:
            return 0
        digest = self._chance.choice(fresh)
        store = open_store(request.store.url, Path(request.store.cache))
        local = store if isinstance(store, LocalStore) else LocalStore(Path(request.store.cache))
        files = sorted(path for path in local.folder(digest).rglob("*") if path.is_file())
        if not files:
            return 0
        self.digests.add(digest)
        spoil_file(self._chance.choice(files), self._chance)
        return 1


class SpoilingReads:
    """Steps whose inputs the disk spoils after they were checked: before they are read, or after.

    Each artifact is spoilt once.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance, self._real = chance, attempts.load_entry
        self._choosing = threading.Lock()
        self.digests: set[str] = set()
        """Artifacts that were spoilt."""

    def __enter__(self) -> SpoilingReads:
        self._patch = mock.patch.object(attempts, "load_entry", self._load)
        self._patch.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._patch.stop()

    def _load(self, entry: str) -> Callable[[StepTask], None]:
        function = self._real(entry)

        def call(task: StepTask) -> None:
            comes_late = self._chance.random() < 0.3
            if not comes_late:
                self._spoil(task.inputs)
            function(task)
            if comes_late:
                self._spoil(task.inputs)

        return call

    def _spoil(self, inputs: Mapping[str, Path]) -> None:
        with self._choosing:
            fresh = {folder.parent.name: folder for folder in inputs.values()}
            fresh = {name: fresh[name] for name in sorted(fresh.keys() - self.digests)}
            if not fresh or self._chance.random() < 0.3:
                return
            digest = self._chance.choice([*fresh])
            self.digests.add(digest)
            files = sorted(path for path in fresh[digest].rglob("*") if path.is_file())
            spoil_file(self._chance.choice(files), self._chance)


def spoil_file(path: Path, chance: random.Random) -> None:
    """Flip a bit of a file, cut it, empty it, or lose it."""
    data = bytearray(path.read_bytes())
    how = chance.choice(("flip", "flip", "cut", "empty", "lose"))
    path.chmod(0o644)
    if how == "lose" or not data:
        path.unlink()
    elif how == "flip":
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
    else:
        path.write_bytes(data[: chance.randrange(len(data)) if how == "cut" else 0])


@contextlib.contextmanager
def hurried() -> Iterator[None]:
    """No waits between tries of databases and buckets, and no patience with silent buckets."""
    database, bucket = "threedrs_platform.database.connection", "threedrs_platform.store.bucket"
    chosen = {
        f"{database}.RECONNECT_S": 0.0,
        f"{database}.FIRST_RETRY_S": 0.0,
        f"{bucket}.FIRST_WAIT_S": 0.02,
        f"{bucket}.LONGEST_WAIT_S": 0.2,
        f"{bucket}.READ_TIMEOUT_S": 1.0,
    }
    with contextlib.ExitStack() as stack:
        for name, value in chosen.items():
            stack.enter_context(mock.patch(name, value))
        yield
