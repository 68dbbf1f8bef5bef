"""What teacher weights hold, told by headers alone, before anything runs. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from threedrs_components.tensor_headers import StoredTensor, read_header
from threedrs_platform.errors import CheckpointError

WRAPPED = "module."
"""What a wrapper for several processes puts before all names."""
SUFFIX = ".safetensors"
FLOATS = ("BF16", "F16", "F32", "F64")
"""Number formats of weights, as safetensors calls them."""
SHOWN = 5
"""Tensors that an error message lists before it only counts."""


class Shaped(Protocol):
    """A tensor, or what a header says of one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sides."""
        ...


Tensors = Mapping[str, Shaped]


def stored_tensors(checkpoint: str | Path) -> dict[str, StoredTensor] | None:
    """Tensors of a safetensors file, or of the one inside a folder; None where there is none.

    Raises:
        CheckpointError: the file is cut short, or something else.
    """
    path = weights_path(checkpoint)
    if path.suffix != SUFFIX or not path.is_file():
        return None
    found = read_header(path.parent, path.name)
    return {name: found[stored] for name, stored in plain_names(found).items()}


def weights_path(checkpoint: str | Path) -> Path:
    """The file itself, or the one of safetensors that a folder may hold."""
    path = Path(checkpoint)
    return path / f"model{SUFFIX}" if path.is_dir() else path


def plain_names(names: Iterable[str]) -> dict[str, str]:
    """Stored names by what they are without a wrapper's own beginning."""
    stored = list(names)
    if stored and all(name.startswith(WRAPPED) for name in stored):
        return {name.removeprefix(WRAPPED): name for name in stored}
    return {name: name for name in stored}


def refuse_misfits(
    path: Path,
    tensors: Mapping[str, StoredTensor],
    expected: Mapping[str, tuple[int, ...]],
    read: tuple[str, ...],
    known: tuple[str, ...],
) -> None:
    """Refuse a file whose header lists other tensors than a model reads.

    Args:
        path: of the file.
        tensors: all of them.
        expected: shapes of those that are read, by whole names.
        read: how their names begin.
        known: how names of all parts begin, of those too that are not read.

    Raises:
        CheckpointError: names those that are missing, unknown, of another shape or format.
    """
    of_trunk = {name: each for name, each in tensors.items() if name.startswith(read)}
    faults = misfits(of_trunk, expected)
    faults["unknown"] += [name for name in tensors if not name.startswith(known)]
    if any(faults.values()):
        raise CheckpointError(f"{path}: does not fit the model; tensors {listed(faults)}")
    refuse_integers(path, of_trunk)


def refuse_integers(path: Path, tensors: Mapping[str, StoredTensor]) -> None:
    """Refuse quantised weights: they mean nothing without scales that nobody reads.

    Raises:
        CheckpointError: names them.
    """
    odd = [f"{n} ({each.dtype})" for n, each in tensors.items() if each.dtype not in FLOATS]
    if odd:
        told = listed({"not of floating point": odd})
        raise CheckpointError(
            f"{path}: does not fit the model; tensors {told}; take the weights in float32, "
            "float16 or bfloat16"
        )


def misfits(tensors: Tensors, expected: Mapping[str, tuple[int, ...]]) -> dict[str, list[str]]:
    """Tensors that do not fit expected names and shapes, by what is wrong with them."""
    return {
        "missing": [name for name in expected if name not in tensors],
        "unknown": [name for name in tensors if name not in expected],
        "of another shape": [
            f"{name} {list(tensors[name].shape)} instead of {list(shape)}"
            for name, shape in expected.items()
            if name in tensors and tuple(tensors[name].shape) != tuple(shape)
        ],
    }


def listed(faults: Mapping[str, Sequence[str]]) -> str:
    """What is wrong with which tensors, in words: a few of each kind."""
    return "; ".join(
        f"{len(names)} {what}: {_few(names)}" for what, names in faults.items() if names
    )


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
