"""The artifact store in an S3 bucket: one object per distinct file, one per manifest.

    <prefix>/blobs/ab/<sha256>          written once; many artifacts may share a file
    <prefix>/manifests/<digest>.json    written last: an artifact exists once its manifest does
    <prefix>/pins/<digest>

Objects are put with `If-None-Match: *` and a SHA-256 checksum, so two writers cannot disagree.
Whatever is read is verified and kept in a local store.
"""

from __future__ import annotations

import base64
import contextlib
import shutil
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from threedrs_platform.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    ConfigError,
    Fault,
    StorageError,
)
from threedrs_platform.identity.recipes import sha256_file
from threedrs_platform.storage import storage_errors
from threedrs_platform.store.artifacts import (
    DEFAULT_GRACE_S,
    Garbage,
    Health,
    LocalStore,
    Published,
)
from threedrs_platform.store.manifest import FileEntry, Manifest, check_digest, parse_manifest

PARALLEL_TRANSFERS = 16
SINGLE_PUT_LIMIT = 4 << 30
"""S3 takes at most 5 GB in one put; larger files go up in parts."""


class S3Store:
    """An artifact store under `s3://bucket/prefix`, with a local store as cache."""

    def __init__(self, url: str, cache: LocalStore) -> None:
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        if not bucket:
            raise ConfigError([Fault(f"{url!r} names no bucket; write s3://bucket/prefix")])
        self.url = url.rstrip("/")
        self.cache = cache
        self._bucket, self._prefix = bucket, prefix.strip("/")
        self._client = _client()

    def publish(self, folder: Path) -> Published:
        """Store locally, send the files that the bucket lacks, then the manifest."""
        published = self.cache.publish(folder)
        manifest = self.cache.manifest(published.digest)
        root = self.cache.folder(published.digest) / "files"
        with self._reaching(), ThreadPoolExecutor(PARALLEL_TRANSFERS) as pool:
            list(pool.map(lambda item: self._send(root / item[0], item[1]), manifest.files.items()))
            self._put(self._manifest_key(published.digest), manifest.content(), published.digest)
        return published

    def checkout(self, digest: str) -> Path:
        """The cached copy, fetched and verified if it is not there."""
        if self.cache.stat_check(digest) is not Health.OK:
            self._fetch(digest)
        return self.cache.checkout(digest)

    def contains(self, digest: str) -> bool:
        """Whether the bucket has the manifest."""
        return self._head(self._manifest_key(check_digest(digest))) is not None

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
            manifest = self._manifest(digest)
        except ArtifactMissing:
            return Health.MISSING
        except ArtifactCorrupt:
            return self._quarantine(digest)
        with self._reaching(), ThreadPoolExecutor(PARALLEL_TRANSFERS) as pool:
            intact = all(pool.map(self._is_intact, manifest.files.values()))
        return Health.OK if intact else self._quarantine(digest)

    def digests(self) -> Iterator[str]:
        """Digests of all manifests."""
        for key, _ in self._list("manifests/"):
            yield key.rpartition("/")[2].removesuffix(".json")

    def pin(self, digest: str, pinned: bool = True) -> None:
        """Put or delete a pin object."""
        key = self._key(f"pins/{check_digest(digest)}")
        with self._reaching():
            if pinned:
                self._client.put_object(Bucket=self._bucket, Key=key, Body=b"")
            else:
                self._client.delete_object(Bucket=self._bucket, Key=key)

    def gc(self, keep: set[str], grace_s: float = DEFAULT_GRACE_S, apply: bool = False) -> Garbage:
        """Drop manifests first, then the blobs that no manifest names any more."""
        kept = keep | {key.rpartition("/")[2] for key, _ in self._list("pins/")}
        manifests = dict(self._list("manifests/"))
        old = time.time() - grace_s
        named = {key: key.rpartition("/")[2].removesuffix(".json") for key in manifests}
        doomed = [
            key for key, about in manifests.items() if named[key] not in kept and about[1] < old
        ]
        living: set[str] = set()
        for key in manifests.keys() - set(doomed):
            living |= {entry.sha256 for entry in self._manifest(named[key]).files.values()}
        blobs = {
            key: about[0]
            for key, about in self._list("blobs/")
            if key.rpartition("/")[2] not in living and about[1] < old
        }
        if apply:
            for key in [*doomed, *blobs]:  # manifests first: none ever names a blob that is gone
                with self._reaching():
                    self._client.delete_object(Bucket=self._bucket, Key=key)
        num_kept = sum(named[key] in kept for key in manifests)
        in_grace = len(manifests) - len(doomed) - num_kept
        garbage = tuple(sorted(named[key] for key in doomed))
        return Garbage(garbage, sum(blobs.values()), num_kept, in_grace)

    def _send(self, file: Path, entry: FileEntry) -> None:
        key = self._blob_key(entry.sha256)
        known = self._head(key)
        if known is not None and known == entry.size:
            return
        if entry.size > SINGLE_PUT_LIMIT:
            extra = {"ChecksumAlgorithm": "SHA256"}
            # An upload in parts knows no `If-None-Match`; a second writer puts the same bytes.
            self._client.upload_file(str(file), self._bucket, key, ExtraArgs=extra)
            return
        with file.open("rb") as content:
            self._put(key, content, entry.sha256)

    def _put(self, key: str, content: Any, sha256: str) -> None:
        """Create an object; one that is there already has the same content."""
        from botocore.exceptions import ClientError

        checksum = base64.b64encode(bytes.fromhex(sha256)).decode()
        try:
            self._client.put_object(
                Bucket=self._bucket, Key=key, Body=content, ChecksumSHA256=checksum, IfNoneMatch="*"
            )
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 412:  # it is there already
                raise

    def _fetch(self, digest: str) -> None:
        manifest = self._manifest(digest)
        with storage_errors(f"fetch artifact {digest[:12]} to {self.cache.root}"):
            staged = self.cache.root / "staging" / uuid.uuid4().hex
            staged.mkdir(parents=True)
            try:
                with self._reaching(), ThreadPoolExecutor(PARALLEL_TRANSFERS) as pool:
                    items = manifest.files.items()
                    list(pool.map(lambda item: self._get(staged / "files", *item), items))
                (staged / "files").mkdir(exist_ok=True)
                (staged / "MANIFEST.json").write_bytes(manifest.content())
                self.cache.adopt(staged, digest)
            except ArtifactCorrupt:
                self._quarantine(digest)
                raise
            finally:
                shutil.rmtree(staged, ignore_errors=True)

    def _get(self, root: Path, name: str, entry: FileEntry) -> None:
        from botocore.exceptions import ClientError

        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._client.download_file(self._bucket, self._blob_key(entry.sha256), str(target))
        except ClientError as error:
            if _is_missing(error):
                raise ArtifactMissing(f"{self.url} lacks the file {name} of an artifact") from error
            raise
        if sha256_file(target) != entry.sha256:
            raise ArtifactCorrupt(f"{self.url}: file {name} does not match its hash")
        target.chmod(0o444)

    def _is_intact(self, entry: FileEntry) -> bool:
        import hashlib

        from botocore.exceptions import ClientError

        digest = hashlib.sha256()
        try:
            body = self._client.get_object(Bucket=self._bucket, Key=self._blob_key(entry.sha256))
        except ClientError as error:
            if _is_missing(error):
                return False
            raise
        for block in body["Body"].iter_chunks(1 << 20):
            digest.update(block)
        return digest.hexdigest() == entry.sha256

    def _quarantine(self, digest: str) -> Health:
        """Hide an artifact: its blobs are suspect, so those that do not match go too."""
        with self._reaching():
            source = self._manifest_key(digest)
            place = self._key(f"quarantine/{digest}.{uuid.uuid4().hex[:8]}.json")
            copy = {"Bucket": self._bucket, "Key": source}
            with contextlib.suppress(ArtifactCorrupt):
                for entry in self._manifest(digest).files.values():
                    if not self._is_intact(entry):
                        key = self._blob_key(entry.sha256)
                        self._client.delete_object(Bucket=self._bucket, Key=key)
            self._client.copy_object(Bucket=self._bucket, Key=place, CopySource=copy)
            self._client.delete_object(Bucket=self._bucket, Key=source)
        return Health.CORRUPT

    def _manifest(self, digest: str) -> Manifest:
        from botocore.exceptions import ClientError

        with self._reaching():
            try:
                key = self._manifest_key(check_digest(digest))
                body = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
            except ClientError as error:
                if _is_missing(error):
                    raise ArtifactMissing(f"artifact {digest[:12]} is not in {self.url}") from error
                raise
        return parse_manifest(body, digest)

    def _head(self, key: str) -> int | None:
        """Size of an object, None if there is none."""
        from botocore.exceptions import ClientError

        with self._reaching():
            try:
                return int(self._client.head_object(Bucket=self._bucket, Key=key)["ContentLength"])
            except ClientError as error:
                if _is_missing(error):
                    return None
                raise

    def _list(self, folder: str) -> Iterator[tuple[str, tuple[int, float]]]:
        """Key, size and time of all objects of a folder."""
        with self._reaching():
            pages = self._client.get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._key(folder)):
                for item in page.get("Contents", ()):
                    yield item["Key"], (item["Size"], item["LastModified"].timestamp())

    def _key(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def _blob_key(self, sha256: str) -> str:
        return self._key(f"blobs/{sha256[:2]}/{sha256}")

    def _manifest_key(self, digest: str) -> str:
        return self._key(f"manifests/{digest}.json")

    @contextlib.contextmanager
    def _reaching(self) -> Iterator[None]:
        """Turn an unreachable or forbidden bucket into a `StorageError`. Shows no credentials."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError, Boto3Error) as error:
            raise StorageError(f"cannot use {self.url}: {error}") from error


def _client() -> Any:
    """An S3 client; endpoint, region and credentials come from boto3's usual environment."""
    import boto3
    from botocore.config import Config as BotoConfig

    retries = {"max_attempts": 5, "mode": "standard"}
    pool = BotoConfig(retries=retries, max_pool_connections=PARALLEL_TRANSFERS)
    return boto3.client("s3", config=pool)


def _is_missing(error: Any) -> bool:
    return error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound")
