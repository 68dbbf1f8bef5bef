"""Every error a user can meet, under one root, and the exit code of a command that it ends.

ThreedrsError           (exit 1 unless said otherwise)
├── ConfigError         a file or flag is wrong; carries every fault with its place (exit 2)
├── DataError           input data is unusable (exit 2, as every file that a user can mend)
│   ├── SceneError      one scene is unusable: names scene, file and reason
│   └── AnnotationError one annotation is unusable: names file, record and field
├── ArtifactError       the artifact store
│   ├── ArtifactMissing a digest that the store does not hold
│   └── ArtifactCorrupt content that does not match its digest
├── StorageError        disk full, read-only or unreachable storage (exit 75)
├── CheckpointError     a model checkpoint does not fit: names file and tensors (exit 2)
├── ConflictError       somebody else owns the run or the lease (exit 7)
└── StepFailed          a step's own code failed; carries the class of failure
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar


class ThreedrsError(Exception):
    """Root of all errors that are shown to users as a message, never as a traceback."""

    exit_code: ClassVar[int] = 1
    """How a command ends that such an error stops."""


@dataclass(frozen=True)
class Fault:
    """One mistake in a configuration: what is wrong, where, and what would be right."""

    message: str
    path: str = ""
    file: str = ""
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        return ": ".join(part for part in (place, self.path, self.message) if part)


class ConfigError(ThreedrsError):
    """A configuration is wrong. Lists all faults at once."""

    exit_code = 2

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        super().__init__("\n".join(str(fault) for fault in faults))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[list[Fault] | str]]:
        return type(self), (self.faults,)


class DataError(ThreedrsError):
    """Input data is unusable."""

    exit_code = 2


class SceneError(DataError):
    """One scene is unusable."""

    def __init__(self, scene_id: str, reason: str, path: Path | str | None = None) -> None:
        self.scene_id, self.reason, self.path = scene_id, reason, str(path) if path else None
        super().__init__(f"scene {scene_id}: {reason}" + (f" ({path})" if path else ""))

    def __reduce__(self) -> tuple[type[SceneError], tuple[str, str, str | None]]:
        return type(self), (self.scene_id, self.reason, self.path)


class AnnotationError(DataError):
    """One record of an annotation or prediction file is unusable."""

    def __init__(self, file: Path | str, record: int | str, field: str, reason: str) -> None:
        self.file, self.record, self.field, self.reason = str(file), record, field, reason
        super().__init__(f"{file}: record {record}: {field}: {reason}")

    def __reduce__(self) -> tuple[type[AnnotationError], tuple[str, int | str, str, str]]:
        return type(self), (self.file, self.record, self.field, self.reason)


class ArtifactError(ThreedrsError):
    """The artifact store cannot do what was asked."""


class ArtifactMissing(ArtifactError):
    """The store holds nothing under this digest."""


class ArtifactCorrupt(ArtifactError):
    """Stored content does not match its digest."""


class StorageError(ThreedrsError):
    """Storage is full, read-only or out of reach."""

    exit_code = 75


class CheckpointError(ThreedrsError):
    """A model checkpoint does not fit the model."""

    exit_code = 2


class ConflictError(ThreedrsError):
    """Another owner holds what was asked for."""

    exit_code = 7


class StepFailed(ThreedrsError):
    """A step's own code failed."""

    def __init__(self, message: str, failure: str = "bug") -> None:
        self.failure = failure
        super().__init__(message)

    def __reduce__(self) -> tuple[type[StepFailed], tuple[str, str]]:
        return type(self), (str(self), self.failure)
