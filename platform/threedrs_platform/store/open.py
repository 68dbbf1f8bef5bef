"""Which artifact store an address means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from threedrs_platform.store.artifacts import ArtifactStore
from threedrs_platform.store.local import LocalStore
from threedrs_platform.store.s3 import S3Store


@dataclass(frozen=True)
class StoreAddress:
    """How a worker opens the artifact store."""

    url: str
    cache: str
    cache_bytes: int | None = None
    """How much of a shared store is kept in the cache; None keeps all."""


def open_store(
    url: str, cache: Path, known: bool = False, cache_bytes: int | None = None
) -> ArtifactStore:
    """The store at a folder or an `s3://bucket/prefix`.

    Args:
        url: where it is.
        cache: holds checkouts of what is not in a folder.
        known: whether somebody has met it already; else an address that nobody answers is told at
            once.
        cache_bytes: what of them is kept, the most recently used; None keeps all.
    """
    if url.startswith("s3://"):
        return S3Store(url, LocalStore(cache), known, cache_bytes)
    return LocalStore(Path(url))
