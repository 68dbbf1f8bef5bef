"""The manifest of an artifact: its files with size and hash; the hash of the whole is its name."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from threedrs_platform.errors import ArtifactCorrupt, ArtifactError, ArtifactMissing
from threedrs_platform.identity.canonical import canonical_json
from threedrs_platform.identity.recipes import sha256_file

DIGEST_LENGTH = 64
SMALL_BYTES, FEW_FILES = 1 << 16, 8
CLUTTER = {".DS_Store", "Thumbs.db", "desktop.ini"}
CLUTTER_PREFIXES = ("._", ".nfs")
"""What systems leave in folders that somebody looks at: no part of an artifact."""


@dataclass(frozen=True)
class FileEntry:
    """One file of an artifact."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The files of an artifact by relative POSIX path."""

    files: dict[str, FileEntry]

    def __post_init__(self) -> None:
        for name in self.files:
            check_relative(name)

    def content(self) -> bytes:
        """Canonical bytes; their sha256 is the artifact's digest."""
        files = {name: [entry.size, entry.sha256] for name, entry in self.files.items()}
        return canonical_json({"schema": "threedrs.artifact/1", "files": files}).encode()

    def digest(self) -> str:
        """The artifact's digest."""
        return hashlib.sha256(self.content()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.files.values())

    @property
    def is_small(self) -> bool:
        """Whether all files are compared by content whenever somebody looks at them."""
        return is_small([entry.size for entry in self.files.values()])


def parse_manifest(content: bytes, digest: str) -> Manifest:
    """Read a manifest and hold it against its digest.

    Raises:
        ArtifactCorrupt: the content has another digest, or a path leaves the artifact's folder.
    """
    if hashlib.sha256(content).hexdigest() != digest:
        raise ArtifactCorrupt(f"artifact {digest[:12]}: its manifest does not match its digest")
    files = json.loads(content)["files"]
    return Manifest({name: FileEntry(size, sha256) for name, (size, sha256) in files.items()})


def check_relative(name: str) -> None:
    """Refuse a manifest path that could point outside the artifact's folder."""
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise ArtifactCorrupt(f"manifest path {name!r} leaves the artifact's folder")


def is_digest(text: str) -> bool:
    """Whether it may name an artifact."""
    return len(text) == DIGEST_LENGTH and set(text) <= set("0123456789abcdef")


def check_digest(digest: str) -> str:
    """Refuse what is not a digest before it becomes part of a path."""
    if not is_digest(digest):
        raise ArtifactMissing(f"{digest!r} is not an artifact digest")
    return digest


def make_manifest(root: Path) -> Manifest:
    """Hash all files below a folder.

    Raises:
        ArtifactError: something below is neither a file nor a folder (links are refused, for their
            target could lie outside).
    """
    files = {}
    for path, status in walk_files(root):
        name = path.relative_to(root).as_posix()
        files[name] = FileEntry(status.st_size, sha256_file(path))
    return Manifest(dict(sorted(files.items())))


def take_stamp(folder: Path | str) -> str:
    """Digest of sizes and times of an artifact's files and manifest: equal stamps mean that nothing
    has changed.
    """
    root, manifest = os.path.join(folder, "files"), os.path.join(folder, "MANIFEST.json")
    return _stamp([*_found(root), ("", manifest, os.stat(manifest))])


def looks_unchanged(folder: str, digest: str) -> bool:
    """Whether an artifact is what it was, by its stamp; small files by their content, which costs
    no more than looking at them.

    Raises:
        OSError: something is not there or cannot be read.
        ArtifactError: something is neither a file nor a folder.
    """
    root, manifest = os.path.join(folder, "files"), os.path.join(folder, "MANIFEST.json")
    found = _found(root)
    if not is_small([status.st_size for _, _, status in found]):
        stamp = _stamp([*found, ("", manifest, os.stat(manifest))])
        return _content(os.path.join(folder, "STAMP")) == stamp.encode()
    listed = _content(manifest)
    if hashlib.sha256(listed).hexdigest() != digest:
        return False
    contents = {name[1:]: _content(path) for name, path, _ in found}
    sums = {name: [len(each), hashlib.sha256(each).hexdigest()] for name, each in contents.items()}
    return bool(json.loads(listed)["files"] == sums)


def _found(root: str) -> list[tuple[str, str, os.stat_result]]:
    """Files below a folder: the rest of the path, the path, the status."""
    return [(path[len(root) :], path, status) for path, status in _walk(root)]


def _stamp(found: list[tuple[str, str, os.stat_result]]) -> str:
    stamp = hashlib.sha256()
    for name, _, status in sorted(found, key=lambda file: file[0]):
        stamp.update(f"{name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return stamp.hexdigest()


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def is_small(sizes: Sequence[int]) -> bool:
    """Whether files of these sizes are compared by content whenever somebody looks at them."""
    return len(sizes) <= FEW_FILES and sum(sizes) <= SMALL_BYTES


def is_clutter(name: str) -> bool:
    """Whether a system left a file of this name."""
    return name in CLUTTER or name.startswith(CLUTTER_PREFIXES)


def walk_files(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """All files below a folder with their status; refuses links and special files."""
    return ((Path(path), status) for path, status in _walk(str(root)))


def _walk(root: str) -> Iterator[tuple[str, os.stat_result]]:
    waiting = [root]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if is_clutter(entry.name):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    yield entry.path, entry.stat(follow_symlinks=False)
                else:
                    raise ArtifactError(f"{entry.path}: an artifact holds plain files only")
