"""The artifact store: immutable folders of files, named by the hash of what they hold.

An artifact's digest is the sha256 of its manifest, and the manifest lists every file with its size
and sha256; so the digest vouches for every byte. One interface, two homes: a local folder
(`local.py`) and an S3 bucket (`s3.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

DEFAULT_GRACE_S = 24 * 3600.0
FILES = "files"
"""The folder of an artifact's files, beside its manifest."""


class Health(StrEnum):
    """What a check of an artifact found."""

    OK = "ok"
    MISSING = "missing"
    CORRUPT = "corrupt"


@dataclass(frozen=True)
class Published:
    """A stored artifact."""

    digest: str
    size: int
    files: int


@dataclass(frozen=True)
class Garbage:
    """What a collection removed, or would remove."""

    digests: tuple[str, ...]
    size: int
    kept: int
    in_grace: int
    leftovers: int = 0
    """Of interrupted publications and downloads, and what was set aside as damaged."""
    leftover_bytes: int = 0
    ignored: tuple[str, ...] = ()
    """What lies in the store and is none of its own."""


class ArtifactStore(Protocol):
    """A content-addressed store of folders. Safe for many processes at once."""

    @property
    def url(self) -> str:
        """Where the store is; `open_store` accepts it."""
        ...

    def publish(self, folder: Path) -> Published:
        """Store a folder's files and return their digest. The folder is used up.

        Raises:
            ArtifactError: the folder holds a link or something that is neither file nor folder.
            StorageError: the storage is full, read-only or out of reach.
        """
        ...

    @property
    def is_remote(self) -> bool:
        """Whether `take` leaves something to be done by `share`, which may fail."""
        ...

    def take(self, folder: Path) -> Published:
        """First half of `publish`: keep the files where this machine can `share` them."""
        ...

    def share(self, digest: str) -> None:
        """Second half of `publish`: let everybody have an artifact that was taken.

        Raises:
            ArtifactError: what was taken is gone or damaged.
            StorageError: the storage is full or out of reach; it may be tried again.
        """
        ...

    def identity(self, make: bool = True) -> str | None:
        """The store's random name, which moves with it; None if it has none and none is made."""
        ...

    def release(self, digest: str) -> None:
        """Say that what was checked out is no longer read: its copy may make room."""
        ...

    def checkout(self, digest: str) -> Path:
        """A local folder with the artifact's files, verified; not to be written to.

        Raises:
            ArtifactMissing: the store has no such artifact.
            ArtifactCorrupt: its content does not match; it is quarantined.
        """
        ...

    def is_unchanged(self, digest: str) -> bool:
        """Whether what was checked out here is what it was; if not, it is set aside."""
        ...

    def contains(self, digest: str) -> bool:
        """Whether the store has the artifact, without looking inside."""
        ...

    def stat_check(self, digest: str) -> Health:
        """Cheap check by stamp; all is read and hashed only where that changed."""
        ...

    def verify(self, digest: str) -> Health:
        """Full check: every byte is read. A corrupt artifact is quarantined."""
        ...

    def digests(self) -> Iterator[str]:
        """All artifacts of the store."""
        ...

    def pin(self, digest: str, pinned: bool = True) -> None:
        """Keep an artifact from collection, or let it go again."""
        ...

    def gc(self, keep: set[str], grace_s: float = DEFAULT_GRACE_S, apply: bool = False) -> Garbage:
        """Remove what is neither kept nor pinned nor younger than the grace time."""
        ...
