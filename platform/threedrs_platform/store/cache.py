"""The local cache of a shared store: bounded in size, the least recently used goes first.

What a process reads is held by a lock on a file, which the system lets go when the process ends;
so several processes, also of several machines over one folder, never take a file from each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from dataclasses import dataclass

from threedrs_platform.storage import storage_errors
from threedrs_platform.store.local import LocalStore
from threedrs_platform.store.manifest import check_digest


@dataclass
class _Held:
    file: int
    readers: int


class BoundedCache:
    """Bounds a local store whose artifacts can be fetched again."""

    def __init__(self, store: LocalStore, most_bytes: int | None) -> None:
        """Bounds of a store; None for `most_bytes` keeps everything."""
        self._store, self._most_bytes = store, most_bytes
        self._locks = store.root / "held"
        self._held: dict[str, _Held] = {}
        self._guard = threading.Lock()

    def hold(self, digest: str) -> None:
        """Keep an artifact until it is released as often as it was held, or the process ends."""
        if self._most_bytes is None:
            return
        with self._guard, storage_errors(f"hold artifact {digest[:12]} in {self._store.root}"):
            held = self._held.get(digest)
            if held is None:
                held = self._held[digest] = _Held(self._open(check_digest(digest)), 0)
                fcntl.flock(held.file, fcntl.LOCK_SH)
            held.readers += 1
            with contextlib.suppress(FileNotFoundError):
                os.utime(self._store.folder(digest))

    def release(self, digest: str) -> None:
        """Let an artifact go that was held."""
        with self._guard:
            held = self._held.get(digest)
            if held is None:
                return
            held.readers -= 1
            if held.readers == 0:
                os.close(held.file)
                del self._held[digest]

    def make_room(self, size: int) -> None:
        """Remove what was not used for longest until `size` bytes more fit, or all else is held."""
        if self._most_bytes is None:
            return
        sizes = {digest: self._store.size(digest) for digest in self._store.digests()}
        excess = sum(sizes.values()) + size - self._most_bytes
        unshared = self._store.pins()
        for digest in sorted(sizes.keys() - unshared, key=self._last_use):
            if excess <= 0:
                return
            if self._remove(digest):
                excess -= sizes[digest]

    def _remove(self, digest: str) -> bool:
        """Remove an artifact unless somebody holds it."""
        with self._guard, storage_errors(f"make room in {self._store.root}"):
            if digest in self._held:
                return False
            lock = self._open(digest)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            else:
                self._store.remove(digest)
                return True
            finally:
                os.close(lock)

    def _last_use(self, digest: str) -> float:
        try:
            return self._store.folder(digest).stat().st_mtime
        except FileNotFoundError:  # another process made room
            return 0.0

    def _open(self, digest: str) -> int:
        self._locks.mkdir(parents=True, exist_ok=True)
        return os.open(self._locks / digest, os.O_RDWR | os.O_CREAT, 0o666)
