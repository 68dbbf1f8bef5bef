"""What must be known about a teacher to trust features that it made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

SAMPLED_BYTES = 1 << 16


@dataclass(frozen=True)
class TeacherCard:
    """Identity of a loaded teacher; travels in the header of every feature file."""

    kind: str
    source_digest: str
    """sha256 of the weights file."""
    licence: str
    preprocessing: str
    """How frames are resized and computed with, in words."""
    layer: int
    output: str = ""
    """Which of the model's tensors the features are, in words."""


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, as hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def folder_digest(root: Path) -> str:
    """sha256 over the names, sizes, beginnings and ends of all visible files under a folder.

    Feature folders hold tens of gigabytes; the steps of a workflow digest all of it besides.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name = path.relative_to(root)
        if any(part.startswith(".") for part in name.parts):
            continue
        size = path.stat().st_size
        digest.update(f"{name} {size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(SAMPLED_BYTES))
            file.seek(max(0, size - SAMPLED_BYTES))
            digest.update(file.read(SAMPLED_BYTES))
    return digest.hexdigest()
