"""Headers of safetensors files: what tensors they hold, without reading one. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threedrs_components.outside_json import object_of
from threedrs_platform.errors import CheckpointError

LONGEST = 100_000_000
"""Bytes of a header at most: the format's own limit."""


@dataclass(frozen=True)
class StoredTensor:
    """One tensor as a header describes it."""

    file: str
    dtype: str
    """As safetensors calls it: BF16, F16, F32."""
    shape: tuple[int, ...]


def read_header(folder: Path, name: str) -> dict[str, StoredTensor]:
    """The tensors of one file by name: eight bytes of length, JSON of that length, the values.

    Raises:
        CheckpointError: the file is missing, cut short or something else.
    """
    path = folder / name
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            size = path.stat().st_size
            if not 0 < length <= min(size - 8, LONGEST):
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            header = object_of(file.read(length))
        header.pop("__metadata__", None)
        end = max((each["data_offsets"][1] for each in header.values()), default=0)
        if 8 + length + end != size:
            raise ValueError(f"{size} bytes, and its header speaks of {8 + length + end}")
        return {tensor: _stored(name, each) for tensor, each in header.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error


def _stored(file: str, described: Any) -> StoredTensor:
    dtype, shape = described["dtype"], described["shape"]
    sides = isinstance(shape, list) and all(type(side) is int and side >= 0 for side in shape)
    if not isinstance(dtype, str) or not sides:
        raise ValueError(f"a tensor of format {dtype!r} and shape {shape!r}")
    return StoredTensor(file, dtype, tuple(shape))
