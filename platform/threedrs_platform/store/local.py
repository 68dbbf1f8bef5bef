"""Artifacts in a folder of this machine, or of one that it shares.

<root>/objects/ab/<digest>/MANIFEST.json
<root>/objects/ab/<digest>/STAMP            what larger files were like when last verified
<root>/objects/ab/<digest>/files/...
<root>/{staging,quarantine,pins}/
<root>/IDENTITY                             which store this is
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from threedrs_platform.errors import ArtifactCorrupt, ArtifactError, ArtifactMissing
from threedrs_platform.storage import storage_errors
from threedrs_platform.store.artifacts import DEFAULT_GRACE_S, FILES, Garbage, Health, Published
from threedrs_platform.store.folders import delete, disk_size, is_folder, last_change
from threedrs_platform.store.manifest import (
    Manifest,
    check_digest,
    is_digest,
    is_small,
    looks_unchanged,
    make_manifest,
    parse_manifest,
    take_stamp,
    walk_files,
)

MANY_FILES = 32
"""Above this one `sync` of everything is faster than an fsync per file."""
STAGING_GRACE_S = 24 * 3600.0
"""How old what an interrupted publication or download left must be to be removed."""
ALWAYS_READ_BYTES = 256 << 20
"""Up to this size an artifact is hashed by every process that checks it out: .2 s at most."""
TRUST_S = 24 * 3600.0
"""How long the last full check of a larger artifact is trusted by who checks it out."""


class LocalStore:
    """An artifact store in a folder."""

    is_remote = False

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._read_at: dict[str, float] = {}
        """When this process last read all of an artifact, on its monotonic clock."""

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
                _move(folder, staged / FILES)
                return self._publish(staged)
            finally:
                shutil.rmtree(staged, ignore_errors=True)

    def _publish(self, staged: Path) -> Published:
        """Make a folder whose `files/` are durable an artifact."""
        manifest = make_manifest(staged / FILES)
        digest = manifest.digest()
        (staged / "MANIFEST.json").write_bytes(manifest.content())
        self.adopt(staged, digest, manifest)
        return Published(digest, manifest.size, len(manifest.files))

    def take(self, folder: Path) -> Published:
        """As `publish`: who sees the folder has it.

        What is called `files/` already, alone in a folder on this disk, is not moved by itself:
        that folder becomes the artifact's.
        """
        staged = folder.parent
        if not self._can_become(staged, folder):
            return self.publish(folder)
        with storage_errors(f"publish an artifact to {self.root}"):
            _make_durable(folder)
            try:
                published = self._publish(staged)
            except OSError as error:
                if error.errno != errno.EXDEV:  # one disk that is mounted twice
                    raise
                published = self.publish(folder)
            if staged.exists():  # the artifact was there before
                shutil.rmtree(staged, ignore_errors=True)
        return published

    def _can_become(self, staged: Path, folder: Path) -> bool:
        """Whether a folder can be renamed to an artifact."""
        self.root.mkdir(parents=True, exist_ok=True)
        return os.listdir(staged) == [FILES] == [folder.name] and (
            os.stat(staged).st_dev == os.stat(self.root).st_dev
        )

    def share(self, digest: str) -> None:
        """Nothing is left to do once it was taken."""

    def release(self, digest: str) -> None:
        """Nothing: no copy was made."""

    def identity(self, make: bool = True) -> str | None:
        """The content of a file that is written once."""
        file = self.root / "IDENTITY"
        with storage_errors(f"name the store {self.root}"):
            if make and not file.exists():
                file.parent.mkdir(parents=True, exist_ok=True)
                partial = file.with_name(f".IDENTITY.{uuid.uuid4().hex}")
                partial.write_text(uuid.uuid4().hex)
                with contextlib.suppress(FileExistsError):  # another process was first
                    os.link(partial, file)
                partial.unlink()
            try:
                return file.read_text("ascii", "replace").strip()
            except FileNotFoundError:
                return None

    def checkout(self, digest: str) -> Path:
        """The artifact's own folder, read in full where its last full check is no proof."""
        health = self.stat_check(digest)
        if health is Health.OK and self._is_to_be_read(digest):
            health = self.verify(digest)
        if health is Health.MISSING:
            raise ArtifactMissing(f"artifact {digest[:12]} is not in {self.root}")
        if health is Health.CORRUPT:
            raise ArtifactCorrupt(
                f"artifact {digest[:12]} in {self.root} does not match its digest; it was moved "
                f"to {self.root / 'quarantine'}"
            )
        return self.folder(digest) / FILES

    def is_unchanged(self, digest: str) -> bool:
        """As `stat_check` says."""
        return self.stat_check(digest) is Health.OK

    def contains(self, digest: str) -> bool:
        """Whether the folder exists."""
        return (self.folder(digest) / "MANIFEST.json").exists()

    def stat_check(self, digest: str) -> Health:
        """Compare stamps; verify in full only where they differ."""
        # Plain strings: a plan checks thousands of artifacts, and making Paths would cost the most.
        folder = os.path.join(self.root, "objects", check_digest(digest)[:2], digest)
        try:
            if looks_unchanged(folder, digest):
                return Health.OK
        except (OSError, ArtifactError, ValueError):
            pass  # files are gone, unreadable or not files at all: the full check says which
        return self.verify(digest)

    def verify(self, digest: str) -> Health:
        """Read every byte; remember the stamp of what was good, quarantine what was not."""
        folder = self.folder(digest)
        if not folder.exists():
            return Health.MISSING
        try:
            manifest = parse_manifest((folder / "MANIFEST.json").read_bytes(), digest)
            intact = make_manifest(folder / FILES) == manifest
        except (ArtifactError, FileNotFoundError):
            intact = False
        with storage_errors(f"verify artifact {digest[:12]} in {self.root}"):
            if intact:
                self._seal_again(folder, manifest)
                self._read_at[digest] = time.monotonic()
                return Health.OK
            self._quarantine(folder)
        return Health.CORRUPT

    def digests(self) -> Iterator[str]:
        """Names of all object folders."""
        yield from (name for name, is_ours in self._entries() if is_ours)

    def pin(self, digest: str, pinned: bool = True) -> None:
        """Set or remove a pin file."""
        file = self.root / "pins" / check_digest(digest)
        with storage_errors(f"pin artifact {digest[:12]}"):
            if pinned:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.touch()
            else:
                file.unlink(missing_ok=True)

    def pins(self) -> set[str]:
        """What is pinned."""
        pins = self.root / "pins"
        return {file.name for file in pins.iterdir()} if pins.exists() else set()

    def gc(self, keep: set[str], grace_s: float = DEFAULT_GRACE_S, apply: bool = False) -> Garbage:
        """Mark by `keep` and pins, spare the young, rename and delete the rest."""
        kept = keep | self.pins()
        garbage: list[str] = []
        size = in_grace = num_kept = 0
        old = time.time() - grace_s
        for digest in list(self.digests()):
            if digest in kept:
                num_kept += 1
            elif self._last_use(digest) > old:
                in_grace += 1
            else:
                its_size = self.size(digest)
                if apply and not self.remove(digest, old):
                    in_grace += 1
                    continue
                garbage.append(digest)
                size += its_size
        left = self.sweep(grace_s, apply)
        return replace(left, digests=tuple(garbage), size=size, kept=num_kept, in_grace=in_grace)

    def unpin_forgotten(self, keep: set[str], old: float, apply: bool) -> dict[str, int]:
        """Remove what was pinned until it would be shared, and never was; bytes by digest.

        Args:
            keep: digests that are needed.
            old: what was pinned before this time is not waited for any more.
            apply: False only tells.
        """
        sizes = {}
        for digest in self.pins() - keep:
            pin = self.root / "pins" / digest
            used = self._last_use(digest)
            if last_change(pin) < old and (used < old or used == math.inf):
                sizes[digest] = self.size(digest)
                if apply:
                    self.pin(digest, pinned=False)
                    self.remove(digest, old)
        return sizes

    def sweep(self, grace_s: float, apply: bool) -> Garbage:
        """Remove what interrupted processes left, and what was set aside as damaged."""
        leftovers = size = 0
        for name, grace in (
            ("staging", max(grace_s, STAGING_GRACE_S)),
            ("quarantine", grace_s),
        ):
            place = self.root / name
            for folder in sorted(place.iterdir()) if place.is_dir() else ():
                if time.time() - last_change(folder) < grace:
                    continue
                leftovers += 1
                size += disk_size(folder)
                if apply:
                    with storage_errors(f"remove {folder}"):
                        delete(folder)
        ignored = tuple(name for name, is_ours in self._entries() if not is_ours)
        return Garbage((), 0, 0, 0, leftovers, size, ignored)

    def manifest(self, digest: str) -> Manifest:
        """The artifact's manifest, held against its digest."""
        return parse_manifest((self.folder(digest) / "MANIFEST.json").read_bytes(), digest)

    def folder(self, digest: str) -> Path:
        """Where an artifact lives or would live."""
        return self.root / "objects" / check_digest(digest)[:2] / digest

    def size(self, digest: str) -> int:
        """Bytes of an artifact's files on disk."""
        return disk_size(self.folder(digest) / FILES)

    def adopt(self, staged: Path, digest: str, manifest: Manifest) -> None:
        """Make a verified staging folder (`files/` and `MANIFEST.json`) visible."""
        _seal(staged, manifest)
        self._reveal(staged, digest)
        self._read_at[digest] = time.monotonic()

    def remove(self, digest: str, unless_used_since: float = math.inf) -> bool:
        """Delete an artifact, unless it was published again meanwhile; whether it is gone.

        It is renamed first: that is gone at once, and a crash leaves no half artifact.
        """
        folder = self.folder(digest)
        with storage_errors(f"remove artifact {digest[:12]}"):
            doomed = self.root / "staging" / uuid.uuid4().hex
            doomed.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # another process removed it
                os.rename(folder, doomed)
                if doomed.stat().st_mtime > unless_used_since:
                    # Its publisher touched it and relies on it; or it put its own by now.
                    with contextlib.suppress(OSError):
                        os.rename(doomed, folder)
                        return False
                shutil.rmtree(doomed)
        return True

    def _entries(self) -> Iterator[tuple[str, bool]]:
        """What lies where artifacts lie: a digest, or the path of what is no artifact of ours."""
        for shelf in sorted((self.root / "objects").glob("*")):
            if not is_folder(shelf):
                yield str(shelf.relative_to(self.root)), False
                continue
            for folder in sorted(shelf.iterdir()):
                ours = is_digest(folder.name) and is_folder(folder)
                yield folder.name if ours else str(folder.relative_to(self.root)), ours

    def _last_use(self, digest: str) -> float:
        try:
            return self.folder(digest).stat().st_mtime
        except FileNotFoundError:  # another process removes, too
            return math.inf

    def _is_to_be_read(self, digest: str) -> bool:
        """Whether an artifact with an unchanged stamp is hashed: disks flip bits in silence."""
        read_at = self._read_at.get(digest)
        if read_at is not None and time.monotonic() - read_at < TRUST_S:
            return False
        manifest = self.manifest(digest)
        if manifest.is_small:
            return False  # it has just been
        if manifest.size <= ALWAYS_READ_BYTES:
            return True
        return time.time() - (self.folder(digest) / "STAMP").stat().st_mtime > TRUST_S

    def _seal_again(self, folder: Path, manifest: Manifest) -> None:
        """Remember a good check, unless the store is an archive that nobody may write to."""
        try:
            _seal(folder, manifest)
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise

    def _reveal(self, staged: Path, digest: str) -> None:
        final = self.folder(digest)
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists() and self.stat_check(digest) is Health.OK:
            with contextlib.suppress(FileNotFoundError):  # a collection has just taken it
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


def _seal(folder: Path, manifest: Manifest) -> None:
    """Remember what an artifact's files are like, unless their content is looked at anyway."""
    if not manifest.is_small:
        (folder / "STAMP").write_text(take_stamp(folder))


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
