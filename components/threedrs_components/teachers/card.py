"""What must be known about a teacher to trust features that it made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


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
    """sha256 over the names and sizes of all files under a folder.

    Feature folders hold tens of gigabytes; the steps of a workflow digest their content besides.
    """
    files = sorted(path for path in root.rglob("*") if path.is_file())
    listing = "\n".join(f"{path.relative_to(root)} {path.stat().st_size}" for path in files)
    return hashlib.sha256(listing.encode()).hexdigest()
