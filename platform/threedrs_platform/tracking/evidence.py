"""What trackers keep of a run beside its numbers: the form; workflows know the content."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from threedrs_platform.database.measurements import CellResult, RunResults


@dataclass(frozen=True)
class DatasetFacts:
    """Data that a cell has read."""

    name: str
    digest: str
    """Digest of the data's content."""
    context: str
    """What the data were read for: "training" or "evaluation"."""
    source: str
    """Where the data lie."""
    profile: Mapping[str, Any] = field(default_factory=dict)
    """Counts of scenes, samples and the like."""


@dataclass(frozen=True)
class Checkpoint:
    """A trained model as a folder of files."""

    folder: Path
    digest: str
    kind: str
    """Kind of the model, e.g. of the student."""
    write_pretrained: Callable[[Path], None] | None = None
    """Writes the model into a folder as `from_pretrained` of transformers reads it, if that can."""


Table = Mapping[str, Sequence[Any]]
"""Column -> values; a column of PIL pictures shows as pictures."""


class Evidence:
    """What to keep of runs and their cells beside the numbers: here, nothing.

    A tracker asks once per run or cell, after its end.
    """

    def run_files(self, run_id: str) -> Mapping[str, str]:
        """Text by file name, to be kept with the submission."""
        return {}

    def run_note(self, results: RunResults) -> str:
        """What the submission is about, as Markdown."""
        return ""

    def cell_tags(self, cell: CellResult) -> Mapping[str, str]:
        """What people filter cells by."""
        return {}

    def cell_note(self, results: RunResults, cell: CellResult) -> str:
        """What the cell is about, as Markdown."""
        return ""

    def datasets(self, cell: CellResult) -> Sequence[DatasetFacts]:
        """The data that the cell has read."""
        return ()

    def tables(self, cell: CellResult) -> Iterator[tuple[str, Table]]:
        """Tables to look into, each with its name: what was asked and answered."""
        yield from ()

    def checkpoint(self, cell: CellResult) -> Checkpoint | None:
        """The model that the cell has trained."""
        return None
