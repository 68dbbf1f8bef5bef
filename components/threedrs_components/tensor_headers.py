"""Headers of safetensors files: what tensors they hold, without reading one. No torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from threedrs_platform.errors import CheckpointError


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
            if not 0 < length <= size - 8:
                raise ValueError(f"a header of {length} bytes in a file of {size}")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        end = max((each["data_offsets"][1] for each in header.values()), default=0)
        if 8 + length + end != size:
            raise ValueError(f"{size} bytes, and its header speaks of {8 + length + end}")
        return {
            tensor: StoredTensor(name, each["dtype"], tuple(each["shape"]))
            for tensor, each in header.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
