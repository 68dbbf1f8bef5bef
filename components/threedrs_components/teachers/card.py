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
    """How frames are resized and normalised, in words."""
    layer: int


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes, as hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
