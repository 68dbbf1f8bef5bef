"""What reading a damaged file can raise, told as one error about one scene."""

from __future__ import annotations

import pickle
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from threedrs_platform.errors import SceneError

UNREADABLE = (
    *(ArithmeticError, AssertionError, AttributeError, EOFError, ImportError, LookupError),
    *(MemoryError, OSError, RuntimeError, SyntaxError, SystemError, TypeError, ValueError),
    *(pickle.UnpicklingError, struct.error, zipfile.BadZipFile, zlib.error),
)
"""All that decoders of foreign bytes (pickle, JSON, zip, NumPy, Pillow) raise when these lie."""


@contextmanager
def scene_errors(scene_id: str, path: Path, what: str) -> Iterator[None]:
    """Turn the failure of a decoder into a SceneError that names the scene and the file."""
    try:
        with np.errstate(all="ignore"):  # what overflows here is refused as not finite
            yield
    except FileNotFoundError as error:
        raise SceneError(scene_id, f"{what} is missing", path) from error
    except UNREADABLE as error:
        raise SceneError(scene_id, f"{what} cannot be read: {said(error)}", path) from error


def said(error: BaseException) -> str:
    """The error in a few words; its kind too, unless the words were written for people."""
    text = str(error).partition("\n")[0][:200]
    return text if type(error) is ValueError and text else f"{type(error).__name__}: {text}"
