from __future__ import annotations

import errno
from pathlib import Path

import pytest
from PIL import Image, UnidentifiedImageError

from threedrs_components.scenes.unreadable import scene_errors
from threedrs_platform.errors import AnnotationError, SceneError, StorageError


def raised(error: BaseException) -> None:
    with scene_errors("room", Path("file"), "mesh"):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        UnidentifiedImageError("cannot identify image file"),
        OSError("image file is truncated"),
        OSError(errno.ENAMETOOLONG, "File name too long"),
        OSError(errno.EINVAL, "Invalid argument"),
        IsADirectoryError(errno.EISDIR, "Is a directory"),
        Image.DecompressionBombError("huge"),
        Image.DecompressionBombWarning("large"),
        AnnotationError("file", "line 1, column 2", "JSON", "Expecting value"),
    ],
)
def test_what_a_damaged_file_brings_about_is_its_scenes_fault(error: Exception) -> None:
    with pytest.raises(SceneError, match=r"scene room: mesh cannot be read: .*\(file\)"):
        raised(error)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "no memory is left"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (OSError(errno.ESTALE, "Stale file handle"), "Stale file handle"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
    ],
)
def test_what_the_machine_brings_about_costs_no_scene(error: Exception, reason: str) -> None:
    with pytest.raises(StorageError, match=f"cannot read file: {reason}"):
        raised(error)


def test_a_disk_that_fails_below_a_reader_of_json_costs_no_scene() -> None:
    told = AnnotationError("file", "-", "file", "cannot be read: Input/output error")
    told.__cause__ = OSError(errno.EIO, "Input/output error")
    with pytest.raises(StorageError, match="Input/output error"):
        raised(told)
