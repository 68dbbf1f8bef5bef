"""Faults of a file of conversations, and of the images that it names, told before anything runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from mimetypes import guess_type
from pathlib import Path

from threedrs_components.scenes.videos.records import (
    SetName,
    TrainingRecord,
    every_record,
    filled_lines,
)
from threedrs_platform.errors import DataError

MOST_TOLD = 3
"""Faulty records that are told one by one; of the others the number."""


def record_faults(
    name: SetName, records: Path, media: Path, *, tolerant: bool, absent_too: bool
) -> Iterator[tuple[str, str]]:
    """What is wrong with a set of records that is learned whole, as a setting's name and words.

    Takes time in proportion to the file, of which one record is held at a time, and lists each
    folder of images once.

    Args:
        name: of the set.
        records: its file.
        media: the folder that names of images start from.
        tolerant: faulty records are left out, so that only all of them are too many.
        absent_too: whether an image that is not there is a fault.
    """
    if not records.is_file():
        yield "records", f"{records}: no such file"
    if not media.is_dir():
        yield "media", f"{media}: no such folder"
    if not records.is_file() or not media.is_dir():
        return
    try:
        found = _read(name, records, media)
    except DataError as error:
        yield "records", str(error)
        return
    if not found.total:
        yield "records", f"{records}: holds no record"
    if not tolerant or len(found.bad) == found.total:
        yield from _told(found.bad, found.total, records, "records", "scenes.on_bad_record")
    if absent_too:
        yield from _told(found.absent, found.total, records, "media", "prepare.on_bad_scene")


@dataclass
class _Found:
    """What was found out about records, which are not kept."""

    total: int = 0
    bad: dict[int, str] = field(default_factory=dict)
    """Place in the file -> what is wrong."""
    absent: dict[int, str] = field(default_factory=dict)
    """The same of records with an image or video that is not below the folder of media."""


def _read(name: SetName, records: Path, media: Path) -> _Found:
    listed, found = lru_cache(maxsize=None)(_listed), _Found()
    for place, record in every_record(name, records, media):
        found.total += 1
        if isinstance(record, str):
            found.bad[place] = record
        elif (reason := _absence(record[0], media, listed)) is not None:
            found.absent[place] = reason
    return found


def _told(
    bad: dict[int, str], total: int, records: Path, setting: str, cure: str
) -> Iterator[tuple[str, str]]:
    for at in sorted(bad)[:MOST_TOLD]:
        yield setting, f"{records}: {_place(records, at)}: {bad[at]}"
    if len(bad) > MOST_TOLD:
        yield (
            setting,
            f"{records}: {len(bad)} of {total} records are faulty; {cure}: skip leaves them out",
        )


def _place(records: Path, index: int) -> str:
    """Where a record stands, as an editor counts; in a list by its number from 0."""
    if records.suffix != ".jsonl":
        return f"record {index}"
    number, _ = next(islice(filled_lines(records), index, None))
    return f"line {number}"


def _absence(
    record: TrainingRecord, media: Path, listed: Callable[[Path], frozenset[str]]
) -> str | None:
    """The first image or video of a record that is not below the folder of media, or is none."""
    for name in (*record.images, *([record.video] if record.video else [])):
        folder, _, file = name.rstrip("/").rpartition("/")
        if file not in listed(media / folder):
            return f"{name!r} is not in {media}; is this the folder that names start from?"
    return next((told for told in map(_no_picture, record.images) if told), None)


def _no_picture(name: str) -> str | None:
    """What an image is by the ending of its name, if that is something else."""
    kind, _ = guess_type(name)
    if kind is None or kind.startswith("image/"):
        return None
    return f"{name!r} is named as an image, and by its ending it is {kind}"


def _listed(folder: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()
