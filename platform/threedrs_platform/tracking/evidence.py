"""What trackers keep of a run beside its numbers: the form; workflows know the content."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from threedrs_platform.database.measurements import CellResult, RunResults


@dataclass(frozen=True)
class DatasetFacts:
    """Data that a cell has read."""

    name: str
    digest: str
    """Of the content."""
    context: str
    """What it was read for: "training" or "evaluation"."""
    source: str
    """Where it lies."""
    profile: Mapping[str, Any] = field(default_factory=dict)
    """Counts and the like."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained model as a folder of files."""

    folder: Path
    digest: str
    kind: str
    """What kind of model it is."""
    write_pretrained: Callable[[Path], None] | None = None
    """Writes it into a folder as `from_pretrained` of transformers reads it, where that exists."""


Table = Mapping[str, Sequence[Any]]
"""Column -> values; a column of PIL pictures shows as pictures."""


class Evidence(Protocol):
    """Tells a tracker about runs and their cells. Asked once per run or cell, after its end."""

    def run_files(self, run_id: str) -> Mapping[str, str]:
        """Text by file name, to be kept with the submission."""
        ...

    def run_note(self, results: RunResults) -> str:
        """What the submission is about, as Markdown."""
        ...

    def cell_tags(self, cell: CellResult) -> Mapping[str, str]:
        """What people filter cells by."""
        ...

    def cell_note(self, results: RunResults, cell: CellResult) -> str:
        """What the cell is about, as Markdown."""
        ...

    def datasets(self, cell: CellResult) -> Sequence[DatasetFacts]:
        """The data it has read."""
        ...

    def tables(self, cell: CellResult) -> Iterator[tuple[str, Table]]:
        """Tables to look into, each with its name: what was asked and answered."""
        ...

    def checkpoint(self, cell: CellResult) -> Checkpoint | None:
        """The model that it has trained."""
        ...


class NoEvidence:
    """Nothing beside the numbers."""

    def run_files(self, run_id: str) -> Mapping[str, str]:
        """None."""
        return {}

    def run_note(self, results: RunResults) -> str:
        """None."""
        return ""

    def cell_tags(self, cell: CellResult) -> Mapping[str, str]:
        """None."""
        return {}

    def cell_note(self, results: RunResults, cell: CellResult) -> str:
        """None."""
        return ""

    def datasets(self, cell: CellResult) -> Sequence[DatasetFacts]:
        """None."""
        return ()

    def tables(self, cell: CellResult) -> Iterator[tuple[str, Table]]:
        """None."""
        yield from ()

    def checkpoint(self, cell: CellResult) -> Checkpoint | None:
        """None."""
        return None
