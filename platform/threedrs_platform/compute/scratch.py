"""The folders of an attempt: nobody else writes there, however long an older attempt lives on."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from threedrs_platform.sealed import take_over
from threedrs_platform.storage import storage_errors
from threedrs_platform.store.artifacts import FILES as OUT

_NAME = re.compile(r"attempt-(\d+)-[0-9a-f]+")


@contextlib.contextmanager
def attempt_folders(scratch: Path, attempt: int) -> Iterator[tuple[Path, Path]]:
    """An empty output folder, removed at the end, and the place of one for unfinished work.

    The latter is made by whoever wants it (`StepTask.scratch`), and stays. Into it comes what
    earlier attempts left sealed, newest first; their folders go. An attempt that was stopped and
    wakes finds its folder gone, or writes where nobody looks: its claim is stale, so nothing of it
    is wanted any more.

    The folders of all steps lie beside each other, each name beginning with that of `scratch`: most
    steps need one folder, and disks are slow at making and removing them.

    Args:
        scratch: of the step on these inputs; shared by its attempts. See `scratch_of`.
        attempt: number of the claim; a higher one has taken the step over.
    """
    own = scratch.with_name(f"{scratch.name}.attempt-{attempt}-{uuid.uuid4().hex[:8]}")
    out, work = own / OUT, own / "work"
    with storage_errors(f"create {own}"):
        os.makedirs(out)
        # Numbered alike: left by a database that has been lost since.
        earlier = [each for each in _attempts(scratch) if each[0] <= attempt and each[1] != own]
        for _, folder in earlier:
            if (folder / "work").is_dir():
                work.mkdir(exist_ok=True)
                take_over(folder / "work", work)
        for number, folder in earlier:
            if number < attempt:
                shutil.rmtree(folder, ignore_errors=True)
    try:
        yield out, work
    finally:
        if own.exists():  # else it has become the artifact
            shutil.rmtree(out, ignore_errors=True)
            for each in (work, own):
                with contextlib.suppress(OSError):  # not there, or the next one may want it
                    os.rmdir(each)


def forget_attempts(scratch: Path, newest: int) -> None:
    """Remove what attempts up to a number left: it must not be gone on from."""
    for number, folder in _attempts(scratch):
        if number <= newest:
            shutil.rmtree(folder, ignore_errors=True)


def scratch_of(folder: Path, step_key: str, content_key: str) -> Path:
    """What the names of a step's scratch folders begin with, and where it notes what it finished.

    Work on other inputs (an input was rebuilt to other bits) must not be continued.
    """
    return folder / f"{step_key}.{content_key[:16]}"


def step_of(name: str) -> str:
    """Key of the step that a scratch folder is of."""
    return name.partition(".")[0]


def clean_up(folder: Path, newest: Mapping[str, int]) -> None:
    """Remove scratch folders of steps, but for attempts after a number: those are at work.

    Args:
        folder: where they lie.
        newest: by step, the number of the attempt that was committed.
    """
    with contextlib.suppress(OSError):  # what cannot be removed is left for `workflows gc`
        names = {name for name in os.listdir(folder) if step_of(name) in newest}
        at_work = set()
        for name in names:
            noted, _, last = name.rpartition(".")
            found = _NAME.fullmatch(last)
            if found and int(found[1]) > newest[step_of(name)]:
                at_work |= {name, noted}
        for name in names - at_work:
            shutil.rmtree(folder / name, ignore_errors=True)


def _attempts(scratch: Path) -> list[tuple[int, Path]]:
    """Number and folder of every attempt, the newest first."""
    start = f"{scratch.name}."
    try:
        names = [name for name in os.listdir(scratch.parent) if name.startswith(start)]
    except FileNotFoundError:
        return []
    found = ((_NAME.fullmatch(name.removeprefix(start)), name) for name in names)
    numbers = [(int(match[1]), scratch.with_name(name)) for match, name in found if match]
    return sorted(numbers, key=lambda each: each[0], reverse=True)
