"""Which artifact store an address means."""

from __future__ import annotations

from pathlib import Path

from threedrs_platform.store.artifacts import ArtifactStore, LocalStore
from threedrs_platform.store.s3 import S3Store


def open_store(url: str, cache: Path) -> ArtifactStore:
    """The store at a folder or an `s3://bucket/prefix`; `cache` holds checkouts of the latter."""
    return S3Store(url, LocalStore(cache)) if url.startswith("s3://") else LocalStore(Path(url))
