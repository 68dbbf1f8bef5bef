"""The folders of an attempt: nobody else writes there, however long an older attempt lives on."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from threedrs_platform.sealed import take_over
from threedrs_platform.storage import storage_errors

_NAME = re.compile(r"attempt-(\d+)-[0-9a-f]+")


@contextlib.contextmanager
def attempt_folders(scratch: Path, attempt: int) -> Iterator[tuple[Path, Path]]:
    """An empty output folder, removed at the end, and a folder for unfinished work, which stays.

    Into the latter comes what earlier attempts left sealed, newest first; their folders go. An
    attempt that was stopped and wakes finds its folder gone, or writes where nobody looks: its
    claim is stale, so nothing of it is wanted any more.

    Args:
        scratch: of the step on these inputs; shared by its attempts.
        attempt: number of the claim; a higher one has taken the step over.
    """
    own = scratch / f"attempt-{attempt}-{uuid.uuid4().hex[:8]}"
    out, work = own / "out", own / "work"
    with storage_errors(f"create {own}"):
        with contextlib.suppress(FileNotFoundError):
            os.makedirs(out)
        os.makedirs(out, exist_ok=True)  # what had been left there was just being removed
        os.mkdir(work)
        # Numbered alike: left by a database that has been lost since.
        earlier = [each for each in _attempts(scratch) if each[0] <= attempt and each[1] != own]
        for _, folder in earlier:
            take_over(folder / "work", work)
        for number, folder in earlier:
            if number < attempt:
                shutil.rmtree(folder, ignore_errors=True)
    try:
        yield out, work
    finally:
        shutil.rmtree(out, ignore_errors=True)
        with contextlib.suppress(OSError):  # there is something in it that the next one may want
            os.rmdir(work)
            os.rmdir(own)


def forget_attempts(scratch: Path, newest: int) -> None:
    """Remove what attempts up to a number left: it must not be gone on from."""
    for number, folder in _attempts(scratch):
        if number <= newest:
            shutil.rmtree(folder, ignore_errors=True)


def clean_up(folder: Path, newest: int) -> None:
    """Remove a step's scratch folder, but for attempts after a number: those are at work.

    Args:
        folder: of the step; in it is one folder for each state of its inputs.
        newest: number of the attempt that was committed.
    """
    with contextlib.suppress(OSError):  # what cannot be removed is left for `workflows gc`
        for scratch in folder.iterdir():
            forget_attempts(scratch, newest)
            left = os.listdir(scratch)
            if not any(_NAME.fullmatch(name) for name in left):
                for name in left:
                    (scratch / name).unlink()
                scratch.rmdir()
        folder.rmdir()


def _attempts(scratch: Path) -> list[tuple[int, Path]]:
    """Number and folder of every attempt, the newest first."""
    if not scratch.is_dir():
        return []
    found = ((_NAME.fullmatch(path.name), path) for path in scratch.iterdir())
    numbers = [(int(match[1]), path) for match, path in found if match is not None]
    return sorted(numbers, key=lambda each: each[0], reverse=True)
