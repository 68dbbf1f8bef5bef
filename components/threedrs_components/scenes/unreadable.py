"""What reading a damaged file can raise, told as one error about one scene."""

from __future__ import annotations

import errno
import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from threedrs_platform.errors import AnnotationError, SceneError, StorageError

UNREADABLE = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError),
    *(OSError, RuntimeError, SyntaxError, SystemError, TypeError, ValueError),
    *(pickle.UnpicklingError, struct.error, zipfile.BadZipFile, zlib.error),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)
"""All that decoders of foreign bytes (pickle, JSON, zip, NumPy, Pillow) raise when these lie.

An OSError among them may be the machine's, see `machine_fault`.
"""
OF_THE_FILE = (
    None,  # of decoders, such as Pillow's
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP),
    errno.EINVAL,  # a place that a damaged archive points to
)
"""Numbers of the OSErrors that a file, or what it says, brings about however sound the disk is."""


@contextmanager
def scene_errors(scene_id: str, path: Path, what: str) -> Iterator[None]:
    """Turn the failure of a decoder into a SceneError that names the scene and the file.

    Raises:
        SceneError: the file is missing or damaged.
        StorageError: memory or disk failed; the scene may be as good as any.
    """
    try:
        with np.errstate(all="ignore"):  # what overflows here is refused as not finite
            yield
    except FileNotFoundError as error:
        raise SceneError(scene_id, f"{what} is missing", path) from error
    except (*UNREADABLE, AnnotationError, MemoryError) as error:
        fault = machine_fault(error, path)
        if fault is not None:
            raise fault from error
        raise SceneError(scene_id, f"{what} cannot be read: {said(error)}", path) from error


def machine_fault(error: BaseException | None, path: Path) -> StorageError | None:
    """The error as a StorageError if this machine is to blame for it, else None.

    What a scene lacks because the machine was short of memory or the disk failed must not be
    left out of a result that is kept. Sizes in headers must be checked before memory is asked for.
    """
    if isinstance(error, AnnotationError):
        error = error.__cause__
    if isinstance(error, MemoryError):
        return StorageError(f"cannot read {path}: no memory is left; try again with fewer workers")
    if isinstance(error, OSError) and error.errno not in OF_THE_FILE:
        return StorageError(f"cannot read {path}: {error.strerror}; try again once it can be read")
    return None


def said(error: BaseException) -> str:
    """The error in a few words; its kind too, unless the words were written for people."""
    if isinstance(error, AnnotationError):
        return error.reason if error.record == "-" else f"{error.record}: {error.reason}"
    text = str(error).partition("\n")[0][:200]
    return text if type(error) is ValueError and text else f"{type(error).__name__}: {text}"
