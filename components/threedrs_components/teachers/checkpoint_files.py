"""Whether a teacher's file is a checkpoint at all, told by its first bytes. No torch."""

from __future__ import annotations

import zipfile
from pathlib import Path

from threedrs_components.teachers.weight_headers import SUFFIX, stored_tensors
from threedrs_platform.errors import CheckpointError

PICKLED = (".pt", ".pth", ".bin")


def refuse_no_checkpoint(checkpoint: str | Path, wanted: str) -> None:
    """Refuse a file that holds no tensors; what is not here is somebody else's to miss.

    Args:
        checkpoint: a file, or a folder with one.
        wanted: what would be right.

    Raises:
        CheckpointError: it is cut short or something else; says what would be one.
    """
    path = Path(checkpoint)
    if path.is_dir():
        files = [each for each in sorted(path.iterdir()) if each.suffix in PICKLED]
        if (path / f"model{SUFFIX}").is_file():
            stored_tensors(path)
        elif len(files) == 1:
            _refuse_no_archive(files[0], wanted)
    elif path.suffix == SUFFIX:
        stored_tensors(path)
    elif path.is_file():
        _refuse_no_archive(path, wanted)


def _refuse_no_archive(file: Path, wanted: str) -> None:
    if not zipfile.is_zipfile(file):
        raise CheckpointError(
            f"{file}: is no checkpoint: neither {SUFFIX} nor what torch.save writes (cut short, "
            f"or a page that was downloaded in its place?); take {wanted}"
        )
