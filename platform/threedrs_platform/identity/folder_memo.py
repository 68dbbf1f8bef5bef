"""Digests of a folder's files, remembered on disk as they are made, so that a killed hash goes on.

Two files per folder of data: a head with the digest of the whole for one listing, which is all that
a plan reads while nothing changes, and a manifest of single files, which is appended to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from threedrs_platform.identity.folder_listing import FolderListing, Stamp
from threedrs_platform.identity.recipes import sha256_text
from threedrs_platform.storage import keep_memo, read_json_cache, storage_errors

Digests = dict[str, dict[str, str]]
"""sha256 by file name, by folder."""


@dataclass(frozen=True)
class FolderMemo:
    """What one folder of data is remembered by; remembers nothing without a place."""

    place: Path | None
    """Where memos lie."""
    folder: Path
    """The folder of data, links resolved."""

    def digest(self, listing: FolderListing) -> str | None:
        """Digest of the whole, if nothing changed since."""
        head = read_json_cache(self._head) if self.place is not None else {}
        return head.get("digest") if head.get("listing") == listing.fingerprint else None

    def keep(self, listing: FolderListing, digest: str, digests: Digests) -> None:
        """Remember the whole, and the manifest without what is no longer true of it."""
        if self.place is None:
            return
        lines = [_line(folder, listing.folders[folder], digests[folder]) for folder in digests]
        keep_memo(self._manifest, "".join(lines).encode())
        head = {"folder": str(self.folder), "listing": listing.fingerprint, "digest": digest}
        keep_memo(self._head, json.dumps(head).encode())

    def known(self, listing: FolderListing) -> Digests:
        """Digests of those files that did not change since they were read."""
        known: Digests = {}
        if self.place is None or not self._manifest.is_file():
            return known
        with self._manifest.open(encoding="utf-8") as lines:
            for line in lines:
                try:
                    entry = json.loads(line)
                except ValueError:  # cut short when a process died
                    continue
                now = listing.folders.get(entry["folder"], {})
                known.setdefault(entry["folder"], {}).update(
                    (name, digest)
                    for name, (*stamp, digest) in entry["files"].items()
                    if now.get(name) == tuple(stamp)
                )
        return known

    def add(self, folder: str, stamps: Mapping[str, Stamp], digests: Mapping[str, str]) -> None:
        """Remember some files of one folder at once."""
        if self.place is None or not digests:
            return
        with storage_errors(f"write {self._manifest}"):
            self._manifest.parent.mkdir(parents=True, exist_ok=True)
            with self._manifest.open("a", encoding="utf-8") as file:
                file.write("\n" + _line(folder, stamps, digests))

    @property
    def _head(self) -> Path:
        assert self.place is not None
        return self.place / f"{sha256_text(str(self.folder))[:24]}.json"

    @property
    def _manifest(self) -> Path:
        return self._head.with_suffix(".jsonl")


def _line(folder: str, stamps: Mapping[str, Stamp], digests: Mapping[str, str]) -> str:
    files = {name: [*stamps[name], digest] for name, digest in digests.items()}
    return json.dumps({"folder": folder, "files": files}) + "\n"
