"""Faults of a file of conversations, and of the images that it names, told before anything runs."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path

from threedrs_components.scenes.videos.records import Drawn, SetName, draw_records, filled_lines
from threedrs_platform.errors import DataError

MOST_TOLD = 3
"""Faulty records that are told one by one; of the others the number."""


def record_faults(
    name: SetName, records: Path, media: Path, *, tolerant: bool, absent_too: bool
) -> Iterator[tuple[str, str]]:
    """What is wrong with a set of records that is learned whole, as a setting's name and words.

    Takes time in proportion to the file, and lists each folder of images once.

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
        drawn = draw_records(name, records, 1.0, random.Random(0), media)
    except DataError as error:
        yield "records", str(error)
        return
    if not tolerant or not drawn.good:
        yield from _told(drawn.bad, drawn, records, "records", "scenes.on_bad_record")
    if absent_too:
        absences = _absent(drawn, media)
        yield from _told(absences, drawn, records, "media", "prepare.on_bad_scene")


def _told(
    bad: dict[int, str], drawn: Drawn, records: Path, setting: str, cure: str
) -> Iterator[tuple[str, str]]:
    for at in sorted(bad)[:MOST_TOLD]:
        yield setting, f"{records}: {_place(records, at)}: {bad[at]}"
    if len(bad) > MOST_TOLD:
        yield (
            setting,
            f"{records}: {len(bad)} of {drawn.total} records are faulty; {cure}: skip leaves them "
            "out",
        )


def _place(records: Path, index: int) -> str:
    """Where a record stands, as an editor counts; in a list by its number from 0."""
    if records.suffix != ".jsonl":
        return f"record {index}"
    number, _ = next(islice(filled_lines(records), index, None))
    return f"line {number}"


def _absent(drawn: Drawn, media: Path) -> dict[int, str]:
    """The first image or video of each record that is not below the folder of media."""
    listed = lru_cache(maxsize=None)(_listed)
    found: dict[int, str] = {}
    for record in drawn.good:
        for name in (*record.images, *([record.video] if record.video else [])):
            folder, _, file = name.rstrip("/").rpartition("/")
            if file not in listed(media / folder):
                reason = f"{name!r} is not in {media}; is this the folder that names start from?"
                found.setdefault(record.place, reason)
                break
    return found


def _listed(folder: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except OSError:
        return frozenset()
