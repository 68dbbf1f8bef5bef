"""Arrays of .npz files, read so that no header takes more memory than the file can fill."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST_ARRAY = 1 << 28
"""Bytes of one unpacked array; depth images and masks have some millions."""
READ_HEADER = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def only_array(path: Path) -> NDArray[Any]:
    """The one array of a file.

    Raises:
        ValueError: it has several, or see `zipped_array`.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.namelist()
        if len(entries) != 1:
            raise ValueError(f"expected one array, it has {len(entries)}")
        return zipped_array(archive, entries[0].removesuffix(".npy"))


def zipped_array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    """An array by name; sizes are held against what is there before memory is asked for.

    Raises:
        KeyError: there is none of the name.
        ValueError: too large, packed as NumPy packs none, or not of the shape that it claims.
        Exception: a dozen kinds, of zipfile, zlib and numpy, for damaged files.
    """
    entry = archive.getinfo(f"{name}.npy")
    if entry.file_size > LARGEST_ARRAY:
        limit = f"the most is {LARGEST_ARRAY >> 20} MiB"
        raise ValueError(f"{name} claims {entry.file_size} bytes; {limit}")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{name} is packed in way {entry.compress_type}; save it with NumPy")
    with archive.open(entry) as stream:
        content = stream.read(entry.file_size)
    source = io.BytesIO(content)
    version = np.lib.format.read_magic(source)
    if version not in READ_HEADER:
        raise ValueError(f"{name} has version {version} of NumPy's format; 1 and 2 are read")
    shape, by_column, dtype = READ_HEADER[version](source)
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if dtype.hasobject or size != len(content) - source.tell():
        raise ValueError(f"{name} claims shape {shape} of {dtype}, which is not what it holds")
    values = np.frombuffer(content, dtype, offset=source.tell())
    return values.reshape(shape, order="F" if by_column else "C")
