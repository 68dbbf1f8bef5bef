"""Whether a teacher's file is a checkpoint at all, told by its first bytes. No torch."""

from __future__ import annotations

import errno
import zipfile
from collections.abc import Sequence
from pathlib import Path

from threedrs_components.teachers.weight_headers import SUFFIX, stored_tensors
from threedrs_platform.errors import CheckpointError


def refuse_no_checkpoint(checkpoint: str | Path, wanted: str, names: Sequence[str]) -> None:
    """Refuse what is here and no checkpoint; what is not here is somebody else's to miss.

    Args:
        checkpoint: a file, or a folder with one.
        wanted: what would be right.
        names: of the file in a folder; none where folders are looked through by others.

    Raises:
        CheckpointError: there is no such file, or it is cut short, a link to nothing or something
            else; says what would be one.
    """
    path = Path(checkpoint)
    _refuse_loop(path, wanted)
    if path.is_dir() and names:
        path = _inside(path, wanted, names)
    if path.suffix == SUFFIX:
        stored_tensors(path)
    elif path.is_file():
        _refuse_no_archive(path, wanted)


def _inside(folder: Path, wanted: str, names: Sequence[str]) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
        _refuse_loop(folder / name, wanted)
        if (folder / name).is_symlink():
            raise CheckpointError(
                f"{folder / name}: a link to {(folder / name).readlink()}, which is no file here; "
                f"take {wanted}"
            )
    raise CheckpointError(
        f"{folder}: holds no checkpoint, for there is no {' or '.join(names)} in it; take {wanted}"
    )


def _refuse_loop(path: Path, wanted: str) -> None:
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise CheckpointError(
                f"{path}: a link that leads back to itself; take {wanted}"
            ) from error


def _refuse_no_archive(file: Path, wanted: str) -> None:
    if not zipfile.is_zipfile(file):
        raise CheckpointError(
            f"{file}: is no checkpoint: neither {SUFFIX} nor what torch.save writes (cut short, "
            f"or a page that was downloaded in its place?); take {wanted}"
        )
