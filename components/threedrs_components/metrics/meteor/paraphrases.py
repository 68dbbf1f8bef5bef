"""METEOR's table of 5.3 million paraphrases as a memory-mapped index, built once per wheel.

A phrase is stood for by a 64-bit polynomial hash of its bytes, so the index holds no text: sorted
hashes of source phrases, where each one's targets start, and the hashes of the targets.
"""

from __future__ import annotations

import gzip
import os
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from threedrs_components.metrics.meteor.data import MeteorData
from threedrs_platform.errors import DataError

Hashes = NDArray[np.uint64]

_MULTIPLIER = 0x9E3779B97F4A7C15
"""Odd, so it has an inverse modulo 2^64."""
_INVERSE = pow(_MULTIPLIER, -1, 1 << 64)
SPACE, NEWLINE = 32, 10
_BLOCK = 1 << 20
_FORMAT = 1
_ARRAYS = ("sources", "starts", "targets")
LONGEST_PHRASE = 7
"""Words of the longest phrase of the English table."""


@lru_cache(maxsize=4)
def _powers(base: int, count: int) -> Hashes:
    powers = np.full(count, base, dtype=np.uint64)
    powers[0] = 1
    return np.multiply.accumulate(powers, dtype=np.uint64)


def line_hashes(text: bytes) -> Hashes:
    """A 64-bit hash of each newline-terminated line, computed for all lines at once."""
    data = np.frombuffer(text, dtype=np.uint8)
    ends = np.flatnonzero(data == NEWLINE)
    return part_hashes(data, np.concatenate([[0], ends[:-1] + 1]), ends)


def part_hashes(
    data: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64]
) -> Hashes:
    """A 64-bit hash of each part of a text, computed for all parts at once.

    The hash of bytes b_0..b_n is the sum of (b_k + 1) m^(n-k) modulo 2^64, got as the difference
    of two running sums over the whole text, shifted back by powers of the inverse of m.
    """
    room = max(_BLOCK, 1 << data.size.bit_length())
    running = np.zeros(data.size + 1, dtype=np.uint64)
    np.cumsum((data + np.uint64(1)) * _powers(_INVERSE, room)[: data.size], out=running[1:])
    hashes: Hashes = (running[ends] - running[starts]) * _powers(_MULTIPLIER, room)[ends]
    return hashes ^ (hashes >> np.uint64(29))


def _table_hashes(path: Path) -> tuple[Hashes, Hashes]:
    """Hashes of the two phrases of every entry; an entry is three lines, a probability first."""
    sources: list[Hashes] = []
    targets: list[Hashes] = []
    position, rest = 0, b""
    with gzip.open(path, "rb") as file:
        while block := file.read(_BLOCK):
            complete, newline, rest = (rest + block).rpartition(b"\n")
            if not newline:
                continue
            hashes = line_hashes(complete + newline)
            kinds = (position + np.arange(hashes.size)) % 3
            sources.append(hashes[kinds == 1])
            targets.append(hashes[kinds == 2])
            position += hashes.size
    return np.concatenate(sources), np.concatenate(targets)


@dataclass(frozen=True)
class ParaphraseIndex:
    """Which phrase may be said as which other phrases."""

    sources: Hashes
    """[S] sorted, one per phrase."""
    starts: NDArray[np.int64]
    """[S + 1] where the targets of each source begin."""
    targets: Hashes
    """[T] in the order of the table."""

    def among(self, hashes: Hashes) -> dict[int, tuple[int, ...]]:
        """The part of the table whose both sides are among some phrases.

        Args:
            hashes: [K] of the phrases, sorted, each once.

        Returns:
            Place of a phrase among them -> places of its paraphrases, in the order of the table.
        """
        if not hashes.size or not self.sources.size:
            return {}
        places = np.minimum(np.searchsorted(self.sources, hashes), self.sources.size - 1)
        known = np.flatnonzero(self.sources[places] == hashes)
        first, last = self.starts[places[known]], self.starts[places[known] + 1]
        counts = last - first
        begin = np.cumsum(counts) - counts
        targets = self.targets[np.arange(int(counts.sum())) + np.repeat(first - begin, counts)]
        found = np.minimum(np.searchsorted(hashes, targets), hashes.size - 1)
        here = hashes[found] == targets
        paraphrases: dict[int, list[int]] = {}
        for source, target in zip(
            np.repeat(known, counts)[here].tolist(), found[here].tolist(), strict=True
        ):
            paraphrases.setdefault(source, []).append(target)
        return {source: tuple(targets) for source, targets in paraphrases.items()}


def build_index(path: Path) -> ParaphraseIndex:
    """Index a table; takes some seconds."""
    return index_of(*_table_hashes(path))


def index_of(sources: Hashes, targets: Hashes) -> ParaphraseIndex:
    """An index of entries [E], in the order of a table."""
    order = np.argsort(sources, kind="stable")
    distinct, starts = np.unique(sources[order], return_index=True)
    return ParaphraseIndex(distinct, np.append(starts, sources.size), targets[order])


def cache_folder() -> Path:
    """THREEDRS_CACHE, else `threedrs` under the user's cache folder."""
    chosen = os.environ.get("THREEDRS_CACHE")
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(chosen) if chosen else user / "threedrs"


def open_index(data: MeteorData, cache: Path) -> ParaphraseIndex:
    """The index of the installed table, memory-mapped from the cache; built on first use.

    Raises:
        DataError: the index cannot be written or read there; says how to choose another folder.
    """
    size = data.paraphrases.stat().st_size
    folder = cache / f"meteor-{data.version}-{size}-{_FORMAT}"
    try:
        if not folder.is_dir():
            _write_index(data.paraphrases, folder)
        arrays = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS]
    except OSError as error:
        reason = f"METEOR's index cannot be kept in {cache}: {error}"
        raise DataError(
            f"{reason}; let THREEDRS_CACHE name a folder that can be written"
        ) from error
    return ParaphraseIndex(*arrays)


def _write_index(table: Path, folder: Path) -> None:
    """Write beside, then rename: a reader sees the whole index or none."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=folder.name, dir=folder.parent) as name:
        beside = Path(name) / "index"
        beside.mkdir()
        index = build_index(table)
        for array in _ARRAYS:
            np.save(beside / f"{array}.npy", getattr(index, array))
        try:
            beside.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
