"""The artifact store in an S3 bucket: one object per distinct file, one per manifest.

    <prefix>/blobs/ab/<sha256>          written once; many artifacts may share a file
    <prefix>/manifests/<digest>.json    written last: an artifact exists once its manifest does
    <prefix>/{pins,quarantine}/
    <prefix>/identity                   which store this is

Objects are put with `If-None-Match: *` and a SHA-256 checksum, so two writers cannot disagree.
Whatever is read is verified and kept in a local store, which is a cache of bounded size.
"""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from threedrs_platform.errors import ArtifactCorrupt, ArtifactMissing, StorageError
from threedrs_platform.identity.recipes import sha256_file, sha256_text
from threedrs_platform.storage import storage_errors
from threedrs_platform.store.artifacts import DEFAULT_GRACE_S, Garbage, Health, Published
from threedrs_platform.store.bucket import Bucket, Stored
from threedrs_platform.store.cache import BoundedCache
from threedrs_platform.store.local import LocalStore
from threedrs_platform.store.manifest import (
    FileEntry,
    Manifest,
    check_digest,
    is_digest,
    parse_manifest,
)

DOWNLOADS = 3
"""How often a file is fetched whose bytes are not what their hash says."""
SHARINGS = 5
"""How often an artifact is sent whose files others remove meanwhile."""
IDENTITY = "identity"


class S3Store:
    """An artifact store under `s3://bucket/prefix`, with a local store as cache."""

    is_remote = True

    def __init__(
        self, url: str, cache: LocalStore, known: bool = False, cache_bytes: int | None = None
    ) -> None:
        """A store.

        Args:
            url: `s3://bucket/prefix`
            cache: where checkouts are kept.
            known: whether the bucket has answered somebody before.
            cache_bytes: how much of it is kept; None keeps all.
        """
        self.bucket = Bucket(url, known)
        self.url = self.bucket.url
        self.cache = cache
        self._bounds = BoundedCache(cache, cache_bytes)

    def publish(self, folder: Path) -> Published:
        """Store locally, then share."""
        published = self.take(folder)
        self.share(published.digest)
        return published

    def take(self, folder: Path) -> Published:
        """Store in the cache, pinned until it is shared."""
        published = self.cache.publish(folder)
        self.cache.pin(published.digest)
        return published

    def share(self, digest: str) -> None:
        """Send the files that the bucket lacks, then the manifest.

        What the bucket has already is made young, for a collection may be about to remove it; and
        what one has removed meanwhile is sent again.
        """
        root = self.cache.checkout(digest)
        manifest = self.cache.manifest(digest)
        items = list(manifest.files.items())
        for _ in range(SHARINGS):
            new = self.bucket.each(lambda item: self._send(root / item[0], item[1]), items)
            name = _manifest_name(digest)
            if not self.bucket.put(name, manifest.content(), digest) and not self.bucket.touch(
                name
            ):
                continue
            used_again = [entry for (_, entry), sent in zip(items, new, strict=True) if not sent]
            if all(self.bucket.each(self._has, used_again)):
                self.cache.pin(digest, pinned=False)
                return
        raise StorageError(f"cannot use {self.url}: others remove what is published to it")

    def checkout(self, digest: str) -> Path:
        """The cached copy, fetched and verified if it is not there."""
        self._bounds.hold(digest)
        if self.cache.stat_check(digest) is not Health.OK:
            self._fetch(digest)
        return self.cache.checkout(digest)

    def release(self, digest: str) -> None:
        """Let the cached copy make room for others."""
        self._bounds.release(digest)

    def is_unchanged(self, digest: str) -> bool:
        """Whether the cached copy is; the bucket is not asked."""
        return self.cache.is_unchanged(digest)

    def contains(self, digest: str) -> bool:
        """Whether the bucket has the manifest."""
        return self.bucket.look(_manifest_name(check_digest(digest))) is not None

    def stat_check(self, digest: str) -> Health:
        """Whether the manifest is there; what lies in the cache is checked by its stamps."""
        if not self.contains(digest):
            return Health.MISSING
        if self.cache.contains(digest):
            self.cache.stat_check(digest)  # a damaged copy is set aside and fetched again
        return Health.OK

    def verify(self, digest: str) -> Health:
        """Read every byte in the bucket. A corrupt artifact's manifest is moved to quarantine."""
        try:
            manifest = self.manifest(digest)
        except ArtifactMissing:
            return Health.MISSING
        except ArtifactCorrupt:
            return self._quarantine(digest, [])
        entries = list(manifest.files.values())
        intact = self.bucket.each(self._is_intact, entries)
        bad = [entry for entry, good in zip(entries, intact, strict=True) if not good]
        return self._quarantine(digest, bad) if bad else Health.OK

    def digests(self) -> Iterator[str]:
        """Digests of all manifests."""
        yield from sorted(self._manifests())

    def pin(self, digest: str, pinned: bool = True) -> None:
        """Put or delete a pin object."""
        name = f"pins/{check_digest(digest)}"
        if pinned:
            self.bucket.put_mark(name)
        else:
            self.bucket.delete(name)

    def identity(self, make: bool = True) -> str | None:
        """The store's random name; the first who asks writes it."""
        found = self.bucket.read(IDENTITY)
        if found is None and make:
            chosen = uuid.uuid4().hex
            self.bucket.put(IDENTITY, chosen.encode(), sha256_text(chosen))
            found = self.bucket.read(IDENTITY)
        return None if found is None else found.decode("ascii", "replace")

    def gc(self, keep: set[str], grace_s: float = DEFAULT_GRACE_S, apply: bool = False) -> Garbage:
        """Drop manifests first, then the blobs that no manifest names any more.

        Others publish meanwhile, and make young what they use again: what is no longer as it was
        listed is spared, and which blobs are named is asked after the last manifest was dropped.
        """
        old = time.time() - grace_s
        kept = keep | {name.rpartition("/")[2] for name, _ in self.bucket.objects("pins/")}
        blobs = {
            name: about for name, about in self.bucket.objects("blobs/") if about.modified < old
        }
        manifests = self._manifests()
        doomed = [d for d, about in manifests.items() if d not in kept and about.modified < old]
        if apply:
            dropped = self._drop({_manifest_name(digest): manifests[digest] for digest in doomed})
            doomed = [digest for digest in doomed if _manifest_name(digest) in dropped]
            manifests = self._manifests() | {digest: manifests[digest] for digest in doomed}
        living = self._named_files(manifests.keys() - set(doomed))
        unnamed = {
            name: about for name, about in blobs.items() if name.rpartition("/")[2] not in living
        }
        if apply:
            unnamed = self._drop(unnamed)
        leftovers = {n: a for n, a in self.bucket.objects("quarantine/") if a.modified < old}
        local = self.cache.sweep(grace_s, apply)
        forgotten = self.cache.unpin_forgotten(keep, old, apply)
        if apply:
            for name in leftovers:
                self.bucket.delete(name)
        num_kept = sum(digest in kept for digest in manifests)
        return Garbage(
            tuple(sorted(doomed)),
            sum(about.size for about in unnamed.values()),
            num_kept,
            len(manifests) - len(doomed) - num_kept,
            len(leftovers) + local.leftovers + len(forgotten),
            sum(about.size for about in leftovers.values())
            + local.leftover_bytes
            + sum(forgotten.values()),
            local.ignored,
        )

    def manifest(self, digest: str) -> Manifest:
        """An artifact's manifest in the bucket, held against its digest."""
        content = self.bucket.read(_manifest_name(check_digest(digest)))
        if content is None:
            raise ArtifactMissing(f"artifact {digest[:12]} is not in {self.url}")
        return parse_manifest(content, digest)

    def _send(self, file: Path, entry: FileEntry) -> bool:
        """Put a file unless it is there; whether it was put."""
        name = _blob_name(entry)
        known = self.bucket.look(name)
        if known is not None and known.size == entry.size and self.bucket.touch(name):
            return False
        if known is not None and known.size != entry.size:
            self.bucket.delete(name)  # cut off by somebody; a put would leave it as it is
        return self.bucket.put(name, file, entry.sha256)

    def _has(self, entry: FileEntry) -> bool:
        return self.bucket.look(_blob_name(entry)) is not None

    def _drop(self, listed: dict[str, Stored]) -> dict[str, Stored]:
        """Delete objects that were not used since they were listed; those that were deleted."""

        def drop(name: str) -> bool:
            now = self.bucket.look(name)
            if now is None or now.modified > listed[name].modified:
                return False
            self.bucket.delete(name)
            return True

        dropped = self.bucket.each(drop, list(listed))
        return {name: listed[name] for name, gone in zip(listed, dropped, strict=True) if gone}

    def _manifests(self) -> dict[str, Stored]:
        """All manifests by digest; what is none is none of ours."""
        named = {
            name.rpartition("/")[2].removesuffix(".json"): about
            for name, about in self.bucket.objects("manifests/")
        }
        return {digest: about for digest, about in named.items() if is_digest(digest)}

    def _named_files(self, digests: set[str]) -> set[str]:
        def read(digest: str) -> set[str]:
            try:
                return {entry.sha256 for entry in self.manifest(digest).files.values()}
            except (ArtifactMissing, ArtifactCorrupt):
                return set()  # gone meanwhile, or for `verify` to find

        return set().union(*self.bucket.each(read, sorted(digests)))

    def _fetch(self, digest: str) -> None:
        manifest = self.manifest(digest)
        self._bounds.make_room(manifest.size)
        with storage_errors(f"fetch artifact {digest[:12]} to {self.cache.root}"):
            staged = self.cache.root / "staging" / uuid.uuid4().hex
            staged.mkdir(parents=True)
            try:
                items = list(manifest.files.items())
                self.bucket.each(lambda item: self._get(staged / "files", *item), items)
                (staged / "files").mkdir(exist_ok=True)
                (staged / "MANIFEST.json").write_bytes(manifest.content())
                self.cache.adopt(staged, digest, manifest)
            except ArtifactCorrupt as error:
                if self.verify(digest) is Health.OK:
                    raise StorageError(f"{error}; the bucket's own bytes are sound") from error
                raise
            finally:
                shutil.rmtree(staged, ignore_errors=True)

    def _get(self, root: Path, name: str, entry: FileEntry) -> None:
        """Download a file, again if it comes with other bytes than it has."""
        target = root / name
        for _ in range(DOWNLOADS):
            if not self.bucket.download(_blob_name(entry), target):
                raise ArtifactMissing(f"{self.url} lacks the file {name} of an artifact")
            if sha256_file(target) == entry.sha256:
                target.chmod(0o444)
                return
        raise ArtifactCorrupt(f"{self.url}: file {name} does not match its hash")

    def _is_intact(self, entry: FileEntry) -> bool:
        """Whether the bucket's bytes are right; what was damaged on the way to here proves nothing.

        Raises:
            StorageError: they come damaged each time.
        """
        for _ in range(DOWNLOADS):
            reading = self.bucket.read_hash(_blob_name(entry))
            if reading is None:
                return False
            if reading.sha256 == entry.sha256:
                return True
            if reading.is_what_is_stored:
                return False
        raise StorageError(
            f"cannot use {self.url}: {DOWNLOADS} times this machine received other bytes than the "
            "bucket says it sent; what lies between damages them"
        )

    def _quarantine(self, digest: str, bad: list[FileEntry]) -> Health:
        """Hide an artifact, and remove those of its blobs that are wrong."""
        for entry in bad:
            self.bucket.delete(_blob_name(entry))
        place = f"quarantine/{digest}.{uuid.uuid4().hex[:8]}.json"
        self.bucket.move(_manifest_name(digest), place)
        return Health.CORRUPT


def _blob_name(entry: FileEntry) -> str:
    return f"blobs/{entry.sha256[:2]}/{entry.sha256}"


def _manifest_name(digest: str) -> str:
    return f"manifests/{digest}.json"
