"""What teacher weights hold, told by headers alone, before anything runs. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from threedrs_components.tensor_headers import read_header

WRAPPED = "module."
"""What a wrapper for several processes puts before all names."""
SUFFIX = ".safetensors"


class Shaped(Protocol):
    """A tensor, or what a header says of one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sides."""
        ...


Tensors = Mapping[str, Shaped]


def stored_tensors(checkpoint: str | Path) -> Tensors | None:
    """Tensors of a safetensors file, or of the one inside a folder; None where there is none.

    Raises:
        CheckpointError: the file is cut short, or something else.
    """
    path = Path(checkpoint)
    path = path / f"model{SUFFIX}" if path.is_dir() else path
    if path.suffix != SUFFIX or not path.is_file():
        return None
    found = read_header(path.parent, path.name)
    return {name: found[stored] for name, stored in plain_names(found).items()}


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Stored names by what they are without a wrapper's own beginning."""
    stored = list(names)
    if stored and all(name.startswith(WRAPPED) for name in stored):
        return {name.removeprefix(WRAPPED): name for name in stored}
    return {name: name for name in stored}
