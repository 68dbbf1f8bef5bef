"""The artifact store: immutable folders of files, named by the hash of what they hold.

An artifact's digest is the sha256 of its manifest, and the manifest lists every file with its size
and sha256; so the digest vouches for every byte. One interface, two homes: a local folder (here)
and an S3 bucket (`s3.py`).

    <root>/objects/ab/<digest>/MANIFEST.json
    <root>/objects/ab/<digest>/STAMP            what the files were like when last verified
    <root>/objects/ab/<digest>/files/...
    <root>/{staging,quarantine,pins}/
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from threedrs_platform.errors import ArtifactCorrupt, ArtifactError, ArtifactMissing
from threedrs_platform.storage import storage_errors
from threedrs_platform.store.manifest import (
    Manifest,
    check_digest,
    is_small,
    make_manifest,
    parse_manifest,
    take_stamp,
    walk_files,
)

MANY_FILES = 32
"""Above this one `sync` of everything is faster than an fsync per file."""
DEFAULT_GRACE_S = 24 * 3600.0


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

    def checkout(self, digest: str) -> Path:
        """A local folder with the artifact's files, verified; not to be written to.

        Raises:
            ArtifactMissing: the store has no such artifact.
            ArtifactCorrupt: its content does not match; it is quarantined.
        """
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


class LocalStore:
    """An artifact store in a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    @property
    def url(self) -> str:
        """The folder."""
        return str(self.root)

    def publish(self, folder: Path) -> Published:
        """Move a folder's files into the store: hash, fsync, then one rename makes it visible."""
        with storage_errors(f"publish an artifact to {self.root}"):
            staged = self.root / "staging" / uuid.uuid4().hex
            staged.mkdir(parents=True)
            try:
                _move(folder, staged / "files")
                manifest = make_manifest(staged / "files")
                digest = manifest.digest()
                (staged / "MANIFEST.json").write_bytes(manifest.content())
                self._seal(staged)
                self._reveal(staged, digest)
            finally:
                shutil.rmtree(staged, ignore_errors=True)
        return Published(digest, manifest.size, len(manifest.files))

    def checkout(self, digest: str) -> Path:
        """The artifact's own folder, verified if it changed since it was last verified."""
        health = self.stat_check(digest)
        if health is Health.MISSING:
            raise ArtifactMissing(f"artifact {digest[:12]} is not in {self.root}")
        if health is Health.CORRUPT:
            raise ArtifactCorrupt(
                f"artifact {digest[:12]} in {self.root} does not match its digest; it was moved "
                f"to {self.root / 'quarantine'}"
            )
        return self.folder(digest) / "files"

    def contains(self, digest: str) -> bool:
        """Whether the folder exists."""
        return (self.folder(digest) / "MANIFEST.json").exists()

    def stat_check(self, digest: str) -> Health:
        """Compare stamps; verify in full only where they differ."""
        # Plain strings: a plan checks thousands of artifacts, and making Paths would cost the most.
        folder = os.path.join(self.root, "objects", check_digest(digest)[:2], digest)
        try:
            with open(os.path.join(folder, "STAMP")) as stamp:
                if stamp.read() == take_stamp(folder):
                    return Health.OK
        except (OSError, ArtifactError):
            pass  # files are gone, unreadable or not files at all: the full check says which
        return self.verify(digest)

    def verify(self, digest: str) -> Health:
        """Read every byte; remember the stamp of what was good, quarantine what was not."""
        folder = self.folder(digest)
        if not folder.exists():
            return Health.MISSING
        try:
            manifest = parse_manifest((folder / "MANIFEST.json").read_bytes(), digest)
            intact = make_manifest(folder / "files") == manifest
        except (ArtifactError, FileNotFoundError):
            intact = False
        with storage_errors(f"verify artifact {digest[:12]} in {self.root}"):
            if intact:
                self._seal(folder)
                return Health.OK
            self._quarantine(folder)
        return Health.CORRUPT

    def digests(self) -> Iterator[str]:
        """Names of all object folders."""
        for shelf in sorted((self.root / "objects").glob("??")):
            yield from sorted(folder.name for folder in shelf.iterdir())

    def pin(self, digest: str, pinned: bool = True) -> None:
        """Set or remove a pin file."""
        file = self.root / "pins" / check_digest(digest)
        with storage_errors(f"pin artifact {digest[:12]}"):
            if pinned:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
            else:
                file.unlink(missing_ok=True)

    def gc(self, keep: set[str], grace_s: float = DEFAULT_GRACE_S, apply: bool = False) -> Garbage:
        """Mark by `keep` and pins, spare the young, rename and delete the rest."""
        pins = self.root / "pins"
        kept = keep | ({file.name for file in pins.iterdir()} if pins.exists() else set())
        garbage: list[str] = []
        size = in_grace = num_kept = 0
        for digest in list(self.digests()):
            folder = self.folder(digest)
            if digest in kept:
                num_kept += 1
            elif time.time() - folder.stat().st_mtime < grace_s:
                in_grace += 1
            else:
                garbage.append(digest)
                size += sum(status.st_size for _, status in walk_files(folder / "files"))
                if apply:
                    self._remove(folder)
        return Garbage(tuple(garbage), size, num_kept, in_grace)

    def manifest(self, digest: str) -> Manifest:
        """The artifact's manifest, held against its digest."""
        return parse_manifest((self.folder(digest) / "MANIFEST.json").read_bytes(), digest)

    def folder(self, digest: str) -> Path:
        """Where an artifact lives or would live."""
        return self.root / "objects" / check_digest(digest)[:2] / digest

    def adopt(self, staged: Path, digest: str) -> None:
        """Make a verified staging folder (`files/` and `MANIFEST.json`) visible."""
        self._seal(staged)
        self._reveal(staged, digest)

    def _seal(self, folder: Path) -> None:
        (folder / "STAMP").write_text(take_stamp(folder))

    def _reveal(self, staged: Path, digest: str) -> None:
        final = self.folder(digest)
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists() and self.stat_check(digest) is Health.OK:
            os.utime(final)  # used again: starts a new grace time
            return
        try:
            os.rename(staged, final)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
            return  # another process published the same content first

    def _quarantine(self, folder: Path) -> None:
        place = self.root / "quarantine" / f"{folder.name}.{uuid.uuid4().hex[:8]}"
        place.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another process found it, too
            os.rename(folder, place)

    def _remove(self, folder: Path) -> None:
        with storage_errors(f"remove artifact {folder.name[:12]}"):
            doomed = self.root / "staging" / uuid.uuid4().hex
            doomed.parent.mkdir(parents=True, exist_ok=True)
            os.rename(folder, doomed)  # gone at once; a crash below leaves no half artifact
            shutil.rmtree(doomed)


def _move(folder: Path, target: Path) -> None:
    """Take a folder over: renamed where possible, else copied; files become read-only."""
    for _ in walk_files(folder):  # refuses links and special files before anything moves
        pass
    try:
        os.rename(folder, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        shutil.copytree(folder, target)
        shutil.rmtree(folder)
    _make_durable(target)


def _make_durable(folder: Path) -> None:
    """Make files read-only, and sync them before anything points to them.

    Content that is not what its hash says would be worse than none, so it is synced, unless it is
    so small that its stamp tells. Names and the manifest need no sync: what a power failure takes
    of them, the next check finds.
    """
    files = list(walk_files(folder))
    for path, _ in files:
        path.chmod(0o444)  # a step that wrote to its input would change everybody's
    if is_small([status.st_size for _, status in files]):
        return
    if len(files) > MANY_FILES:
        os.sync()
        return
    for path, _ in files:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
